"""`python -m ml_platform.tests.doors`: write the API's contract anew; read what changed."""

from __future__ import annotations

import os

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ml_platform.tests.settings")
    django.setup()
    from .api_tools import write_snapshot

    write_snapshot()
