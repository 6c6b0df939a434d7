"""The ground of a proof outside pytest: a database, a local cloud and settings for both."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

RINGER = "ringer@demo-project.iam.gserviceaccount.com"
UPLOAD_HORIZON = 120
DIE, DROP = "die", "drop"
"""What the kill harness does at a boundary: the process dies, or its database connection ends."""


def tuned(grpc_target: str, http_url: str) -> dict[str, Any]:
    """The tests' ML_PLATFORM with no pauses in real time: what is repeated, the engine repeats."""
    from django.conf import settings

    return {
        **settings.ML_PLATFORM,
        "LOCAL_CLOUD": grpc_target,
        "LOCAL_CLOUD_HTTP": http_url,
        "RETRY_TIMEOUT": 0.0,
        "UPLOAD_HORIZON": UPLOAD_HORIZON,
        "PUBLIC_URL": "http://127.0.0.1:9/",
        "WEBHOOK_SERVICE_ACCOUNTS": (RINGER,),
    }


def begin(vendor: str) -> None:
    """Set Django up on a database kind; the first thing a program does."""
    os.environ["ML_PLATFORM_TEST_DB"] = vendor
    os.environ["DJANGO_SETTINGS_MODULE"] = "ml_platform.tests.settings"
    import django

    django.setup()


@contextmanager
def standing(vendor: str) -> Iterator[LocalCloud]:
    """A local cloud and an empty database that ML_PLATFORM points at, gone afterwards."""
    # An interrupted run ends as an exception, so that what it stands on goes with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    memory = Path("/dev/shm")  # noqa: S108 - memory that looks like a folder, where there is one
    folder = tempfile.mkdtemp(prefix="mlp-proof-", dir=memory if memory.is_dir() else None)
    os.environ["ML_PLATFORM_TEST_DIR"] = folder
    begin(vendor)
    from django.db import connection
    from django.test.utils import override_settings

    from ml_platform.localcloud import LocalCloud

    creation = connection.creation
    original = connection.settings_dict["NAME"]
    creation.create_test_db(verbosity=0, autoclobber=True)
    os.environ["ML_PLATFORM_TEST_DB_NAME"] = str(connection.settings_dict["NAME"])
    try:
        with (
            LocalCloud(project="demo-project", location="europe-central2") as cloud,
            override_settings(ML_PLATFORM=tuned(cloud.grpc_target, cloud.http_url)),
        ):
            yield cloud
    finally:
        creation.destroy_test_db(original, verbosity=0)
        shutil.rmtree(folder, ignore_errors=True)
