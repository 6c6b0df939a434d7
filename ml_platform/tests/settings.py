"""The demo host on a test database: `ML_PLATFORM_TEST_DB=sqlite|postgresql` chooses which."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from ml_platform.demo import settings as host

SECRET_KEY = host.SECRET_KEY
DEBUG = False
ALLOWED_HOSTS = [*host.ALLOWED_HOSTS, "testserver"]
ROOT_URLCONF = host.ROOT_URLCONF
INSTALLED_APPS = host.INSTALLED_APPS
MIDDLEWARE = host.MIDDLEWARE
TEMPLATES = host.TEMPLATES
DEFAULT_AUTO_FIELD = host.DEFAULT_AUTO_FIELD
TASKS = host.TASKS
USE_TZ = host.USE_TZ
TIME_ZONE = host.TIME_ZONE
STATIC_URL = host.STATIC_URL
STATICFILES_DIRS = host.STATICFILES_DIRS
LOGIN_URL = host.LOGIN_URL
LOGIN_REDIRECT_URL = host.LOGIN_REDIRECT_URL
LOGOUT_REDIRECT_URL = host.LOGOUT_REDIRECT_URL
CSRF_COOKIE_HTTPONLY = host.CSRF_COOKIE_HTTPONLY
CSRF_FAILURE_VIEW = host.CSRF_FAILURE_VIEW
# Slow hashing protects stolen passwords; the tests' are written in the tests.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

ML_PLATFORM: dict[str, Any] = {
    "PROJECT_ID": "demo-project",
    "LOCATION": "europe-central2",
    "BUCKET": "demo-artifacts",
    "INSTALLATION": "tests",
    # A cloud that is out for a whole test is not asked again for twenty seconds each time.
    "RETRY_TIMEOUT": 2.0,
    # Port 9 answers nobody: a test that needs the cloud asks for the fixture `cloud`.
    "LOCAL_CLOUD": os.environ.get("ML_PLATFORM_LOCAL_CLOUD", "127.0.0.1:9"),
    "LOCAL_CLOUD_HTTP": os.environ.get("ML_PLATFORM_LOCAL_CLOUD_HTTP", "http://127.0.0.1:9"),
}


# The process that began the run names it (conftest makes it); its children work in it too.
RUN_DIRECTORY = os.environ.setdefault(
    "ML_PLATFORM_TEST_DIR", str(Path(tempfile.gettempdir(), f"mlp-test-{os.getpid()}"))
)


def _database(vendor: str) -> dict[str, Any]:
    """A child process of a test finds the test's database through ML_PLATFORM_TEST_DB_NAME."""
    name = os.environ.get("ML_PLATFORM_TEST_DB_NAME", "")
    if vendor == "postgresql":
        from .postgres import USER, postgres_host  # starts a server; SQLite runs need none

        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name or "postgres",
            "USER": USER,
            "HOST": postgres_host(),
            "TEST": {"NAME": f"test_ml_platform_{os.getpid()}"},
        }
    if vendor != "sqlite":
        raise ValueError(f"ML_PLATFORM_TEST_DB is {vendor!r}; it knows sqlite and postgresql.")
    # A file, because threads and processes share it; in memory each would have its own.
    name = name or str(Path(RUN_DIRECTORY, f"{os.getpid()}.sqlite3"))
    # As on PostgreSQL: nobody wants what a crash of the machine would lose, so nothing is synced.
    options = {
        **host.DATABASES["default"]["OPTIONS"],
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;",
    }
    default = {**host.DATABASES["default"], "OPTIONS": options}
    return {**default, "NAME": name, "TEST": {"NAME": name}}


DATABASES = {"default": _database(os.environ.get("ML_PLATFORM_TEST_DB", "sqlite"))}
