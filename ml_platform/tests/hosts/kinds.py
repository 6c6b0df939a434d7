"""The hosts of the table: what each has of its own."""

from __future__ import annotations

from ml_platform.tests.postgres import USER, postgres_host

from .host import Kind


def _on_postgresql(name: str, more: str = "") -> str:
    return f"""
DATABASES = {{
    "default": {{
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "{name}",
        "USER": "{USER}",
        "HOST": "{postgres_host()}",
        {more}
    }}
}}
"""


PLAIN = Kind(name="plain", title="startproject, SQLite, every default")

_SHOP_MODELS = """
import uuid

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models


class Person(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)


class Shop(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=80)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT)

    def __str__(self):
        return self.title


def shops_of(user):
    return Shop.objects.filter(owner=user)


def strict(get_response):
    def middleware(request):
        response = get_response(request)
        policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'"
        response.headers["Content-Security-Policy"] = policy
        return response

    return middleware
"""
_SHOP_SETTINGS = """
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
SILENCED_SYSTEM_CHECKS = ["mlp.E008"]
INSTALLED_APPS += ["shops"]
MIDDLEWARE += [
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "shops.models.strict",
]
MIDDLEWARE.insert(1, "whitenoise.middleware.WhiteNoiseMiddleware")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
STATIC_ROOT = BASE_DIR / "static_root"
AUTH_USER_MODEL = "shops.Person"
LANGUAGE_CODE = "de"
TIME_ZONE = "Europe/Berlin"
USE_THOUSAND_SEPARATOR = True
ML_PLATFORM_PROJECT_MODEL = "shops.Shop"
ML_PLATFORM |= {
    "PROJECTS_FOR_USER": "shops.models.shops_of",
    "PUBLIC_URL": "http://127.0.0.1:8000/intern/ml/",
}
"""
_BELOW = """
import socketserver
import sys
from wsgiref import simple_server

from mysite.wsgi import application


def below(environ, start_response):
    environ["SCRIPT_NAME"] = "/intern"
    environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/intern")
    return application(environ, start_response)


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    pass


simple_server.make_server("127.0.0.1", int(sys.argv[1]), below, Server).serve_forever()
"""


def shop() -> Kind:
    """What larger platforms have; its database must be there."""
    return Kind(
        name="shop",
        title="PostgreSQL, UUID user and tenant, ATOMIC_REQUESTS, LoginRequiredMiddleware, "
        "Content-Security-Policy, whitenoise, German, below a path",
        files={
            "shops/__init__.py": "",
            "shops/migrations/__init__.py": "",
            "shops/models.py": _SHOP_MODELS,
            "mysite/settings.py": _SHOP_SETTINGS
            + _on_postgresql("host_shop", '"ATOMIC_REQUESTS": True,'),
            "below.py": _BELOW,
        },
        before="python manage.py makemigrations shops\npython manage.py collectstatic --noinput",
        serve="python below.py 8000",
        address="http://127.0.0.1:8000/intern",
        make_project="from shops.models import Person, Shop; "
        "print(Shop.objects.create(title='shop', owner=Person.objects.get()).pk)",
    )


_ROUTER = """
class PrimaryReplicaRouter:
    def db_for_read(self, model, **hints):
        return "default" if model._meta.app_label == "django_tasks_database" else "replica"

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, obj1, obj2, **hints):
        return True

    def allow_migrate(self, db, app_label, **hints):
        return db == "default"
"""
_REPLICA = """
DATABASES["replica"] = {**DATABASES["default"], "TEST": {"MIRROR": "default"}}
DATABASE_ROUTERS = ["mysite.router.PrimaryReplicaRouter"]
"""
_STATIC = """
from django.contrib.staticfiles.urls import staticfiles_urlpatterns

urlpatterns += staticfiles_urlpatterns()
"""


def replica() -> Kind:
    """An ASGI server, and reads from another connection; its database must be there."""
    return Kind(
        name="replica",
        title="ASGI with uvicorn, PostgreSQL with a primary/replica router",
        files={
            "mysite/router.py": _ROUTER,
            "mysite/settings.py": _on_postgresql("host_replica") + _REPLICA,
            "mysite/urls.py": _STATIC,
        },
        serve="uvicorn --port 8000 --log-level warning mysite.asgi:application",
    )
