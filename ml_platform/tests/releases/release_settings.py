"""The settings of a process of either release: the tests' of its own code, and what jobs need."""

from __future__ import annotations

from ml_platform.tests.settings import *  # noqa: F403 - settings are a module's names
from ml_platform.tests.settings import ML_PLATFORM as _TESTS

ML_PLATFORM = {
    **_TESTS,
    "RETRY_TIMEOUT": 0.0,
    "UPLOAD_HORIZON": 60,
    "PUBLIC_URL": "http://127.0.0.1:9/",
    "WEBHOOK_SERVICE_ACCOUNTS": ("ringer@demo-project.iam.gserviceaccount.com",),
}
