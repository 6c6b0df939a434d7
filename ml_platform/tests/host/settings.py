"""A host's settings: what docs/host.md asks for, and habits that could get in our way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ml_platform.tests.host.apps import LABEL

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

SECRET_KEY = "host"
DEBUG = True
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "ml_platform.tests.host.urls"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_tasks",
    "django_tasks_db",
    "ml_platform.tests.host",
    "ml_platform",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
]
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [HERE / "templates", ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": f"django.db.backends.{os.environ.get('HOST_DB_ENGINE', 'sqlite3')}",
        "NAME": os.environ.get("HOST_DB", ":memory:"),
        "HOST": os.environ.get("HOST_DB_HOST", ""),
        "USER": os.environ.get("HOST_DB_USER", ""),
        "ATOMIC_REQUESTS": True,
    }
}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
USE_TZ = True
TIME_ZONE = "Europe/Warsaw"
LANGUAGE_CODE = "de"
USE_THOUSAND_SEPARATOR = True
STATIC_URL = "/assets/"
STATICFILES_DIRS = [ROOT / "static"]
LOGIN_URL = "sign_in"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

ML_PLATFORM_PROJECT_MODEL = f"{LABEL}.Shop"
if os.environ.get("HOST_KEY", "integer") != "integer":
    AUTH_USER_MODEL = f"{LABEL}.Person"
ML_PLATFORM: dict[str, Any] = {
    "PROJECT_ID": "demo-project",
    "LOCATION": "europe-central2",
    "BUCKET": "demo-artifacts",
    "INSTALLATION": "host",
    "BASE_TEMPLATE": "host/base.html",
    "PROJECTS_FOR_USER": "ml_platform.tests.host.models.shops_of",
    "LOCAL_CLOUD": os.environ.get("ML_PLATFORM_LOCAL_CLOUD", "127.0.0.1:9"),
    "LOCAL_CLOUD_HTTP": os.environ.get("ML_PLATFORM_LOCAL_CLOUD_HTTP", "http://127.0.0.1:9"),
}
