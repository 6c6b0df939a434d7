"""The demo host on a benchmark's database as a WSGI application: connections to it are kept."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application
from django.db import connections

from ml_platform.demo import settings as demo

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ml_platform.tests.settings")

application = get_wsgi_application()


def _as_in_use() -> None:
    from .ground import settings_for_benchmarks

    settings_for_benchmarks()
    default = connections.settings["default"]
    default["CONN_MAX_AGE"] = None
    if "sqlite3" in default["ENGINE"]:
        # Those of the tests would not wait for the disk.
        default["OPTIONS"] = demo.DATABASES["default"]["OPTIONS"]


_as_in_use()
