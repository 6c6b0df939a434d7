"""Settings of the demo host. Each environment variable has a default that works on one machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.management.utils import get_random_secret_key

ROOT = Path(__file__).resolve().parents[2]

# Child processes inherit the key, so that a worker and the site agree; no key is written to disk.
SECRET_KEY = os.environ.setdefault("ML_PLATFORM_SECRET_KEY", get_random_secret_key())
DEBUG = os.environ.get("ML_PLATFORM_DEBUG", "") == "1"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
ROOT_URLCONF = "ml_platform.demo.urls"
WSGI_APPLICATION = "ml_platform.demo.wsgi.application"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_tasks",
    "django_tasks_db",
    "ml_platform",
    "ml_platform.demo",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("ML_PLATFORM_DB", str(Path(".demo", "db.sqlite3").resolve())),
        # Writers queue at BEGIN instead of failing at their first write.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default"]}}

USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
# In a wheel the files lie inside the app, where the app finder sees them.
STATICFILES_DIRS = [path for path in (ROOT / "static",) if path.is_dir()]

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "ml_platform.pages.lazy.csrf_failure"

# With DEBUG off Django would mail a failure's traceback, but the demo has no recipients.
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"handlers": ["stderr"], "level": "ERROR"}},
}

_LOCAL_CLOUD_HTTP = os.environ.get("ML_PLATFORM_LOCAL_CLOUD_HTTP", "http://127.0.0.1:8791")
ML_PLATFORM: dict[str, Any] = {
    "PROJECT_ID": os.environ.get("ML_PLATFORM_PROJECT_ID", "b2b-recs"),
    "LOCATION": os.environ.get("ML_PLATFORM_LOCATION", "europe-central2"),
    "BUCKET": os.environ.get("ML_PLATFORM_BUCKET", "b2b-recs-training-artifacts"),
    "INSTALLATION": "demo",
    "LOCAL_CLOUD": os.environ.get("ML_PLATFORM_LOCAL_CLOUD", "127.0.0.1:8790"),
    "LOCAL_CLOUD_HTTP": _LOCAL_CLOUD_HTTP,
    "PUBLIC_URL": os.environ.get("ML_PLATFORM_PUBLIC_URL", "http://127.0.0.1:8000/"),
    "WEBHOOK_SERVICE_ACCOUNTS": ["scheduler@b2b-recs.iam.gserviceaccount.com"],
    "WEBHOOK_CERTS_URL": f"{_LOCAL_CLOUD_HTTP}/oauth2/v1/certs",
}
