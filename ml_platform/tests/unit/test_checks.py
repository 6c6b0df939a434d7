"""System checks: each wrong setting gets its id, its sentence and a hint; good ones get silence."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core import checks, mail
from django.db import connections, models
from django.urls import include, path

from ml_platform.checks import check_settings, host
from ml_platform.checks.settings import DEMO
from ml_platform.conf import get_settings

GOOD = {"PROJECT_ID": "my-project", "LOCATION": "europe-central2", "BUCKET": "my-artifacts"}
LOCAL = {"LOCAL_CLOUD": "127.0.0.1:8790", "LOCAL_CLOUD_HTTP": "http://127.0.0.1:8791"}
BACKENDS = "django_tasks.backends"
HOOKS = {
    "PUBLIC_URL": "https://ml.example.com/",
    "WEBHOOK_SERVICE_ACCOUNTS": ["caller@my-project.iam.gserviceaccount.com"],
}


class Urls(ModuleType):
    """A ROOT_URLCONF."""

    def __init__(self, *patterns: Any) -> None:
        super().__init__("urls")
        self.urlpatterns = list(patterns)


URLS = {
    "urls_below": Urls(path("<slug:tenant>/ml/", include("ml_platform.urls"))),
    "urls_none": Urls(),
}


def found(settings: Any, given: Mapping[str, object]) -> list[checks.CheckMessage]:
    settings.ML_PLATFORM = dict(given)
    return check_settings()


@pytest.mark.parametrize(
    "given",
    [
        GOOD,
        GOOD | HOOKS,
        GOOD | LOCAL,
        GOOD | LOCAL | HOOKS | {"PUBLIC_URL": "http://127.0.0.1:8000/"},
        GOOD | HOOKS | {"PUBLIC_URL": "", "WEBHOOK_AUDIENCE": "https://ml.example.com/"},
        GOOD | {"PROJECT_ID": "example.com:my-project", "LOCATION": "northamerica-northeast1"},
        GOOD | {"PROJECTS_FOR_USER": "ml_platform.services.access.scope.scope_of"},
        GOOD | {"PROTECTED_ALIASES": []},
        GOOD | {"PROTECTED_ALIASES": ("golden", "production")},
        GOOD | {"ARTIFACTS_PREFIX": "ml/runs.v2", "INSTALLATION": "shop_1", "RETRY_TIMEOUT": 0},
    ],
)
def test_good_settings_get_silence(settings, given):
    assert found(settings, given) == []


@pytest.mark.parametrize(
    ("given", "ids", "says"),
    [
        ({**GOOD, "BUKET": "x"}, ["mlp.E001"], "unknown keys: BUKET"),
        ({**GOOD, "CALL_TIMEOUT": "20"}, ["mlp.E001"], "'20', which is not a float"),
        ({}, ["mlp.E002"], "has no PROJECT_ID, BUCKET"),
        ({**GOOD, "PROJECT_ID": ""}, ["mlp.E002"], "has no PROJECT_ID"),
        ({**GOOD, "PROJECT_ID": "123456"}, ["mlp.E003"], "'123456'"),
        ({**GOOD, "PROJECT_ID": "My Project"}, ["mlp.E003"], "'My Project'"),
        ({**GOOD, "LOCATION": "mars"}, ["mlp.E004"], "'mars'"),
        ({**GOOD, "LOCATION": "europe-central2-a"}, ["mlp.E004"], "'europe-central2-a'"),
        ({**GOOD, "BUCKET": "gs://my-artifacts"}, ["mlp.E005"], "'gs://my-artifacts'"),
        ({**GOOD, "BUCKET": "my-artifacts/runs"}, ["mlp.E005"], "'my-artifacts/runs'"),
        ({**GOOD, "LOCAL_CLOUD": "127.0.0.1:8790"}, ["mlp.E006"], "only one of"),
        ({**GOOD, **LOCAL, "LOCAL_CLOUD": "http://127.0.0.1:8790"}, ["mlp.E007"], "host:port"),
        ({**GOOD, **HOOKS, "PUBLIC_URL": ""}, ["mlp.E009"], "no audience"),
        ({**GOOD, **HOOKS, "WEBHOOK_SERVICE_ACCOUNTS": []}, ["mlp.W001"], "a PUBLIC_URL but no"),
        ({**GOOD, **HOOKS, "PUBLIC_URL": "http://ml.example.com/"}, ["mlp.E010"], "https://"),
        ({**GOOD, **LOCAL, **HOOKS, "PUBLIC_URL": "ml.example.com"}, ["mlp.E010"], "https://"),
        ({**GOOD, **HOOKS, "WEBHOOK_SERVICE_ACCOUNTS": ["me"]}, ["mlp.E011"], "'me'"),
        ({**GOOD, "CALL_TIMEOUT": 0.0}, ["mlp.E001"], "is 0.0"),
        ({**GOOD, "CALL_TIMEOUT": float("nan")}, ["mlp.E001"], "is nan"),
        ({**GOOD, "RETRY_TIMEOUT": -1.0}, ["mlp.E001"], "is -1.0"),
        ({**GOOD, "RETRY_TIMEOUT": float("inf")}, ["mlp.E001"], "is inf"),
        ({**GOOD, "UPLOAD_HORIZON": -1}, ["mlp.E001"], "is -1"),
        ({**GOOD, "ORPHAN_DAYS": 0}, ["mlp.E001"], "is 0"),
        ({**GOOD, "ORPHAN_DAYS": -7}, ["mlp.E001"], "is -7"),
        ({**GOOD, "ARTIFACTS_PREFIX": ""}, ["mlp.E001"], "is ''"),
        ({**GOOD, "ARTIFACTS_PREFIX": "//"}, ["mlp.E001"], "is '//'"),
        ({**GOOD, "ARTIFACTS_PREFIX": "../x"}, ["mlp.E001"], "is '../x'"),
        ({**GOOD, "ARTIFACTS_PREFIX": "ml//runs"}, ["mlp.E001"], "is 'ml//runs'"),
        ({**GOOD, "ARTIFACTS_PREFIX": "runs*"}, ["mlp.E001"], "is 'runs*'"),
        ({**GOOD, "INSTALLATION": ""}, ["mlp.E001"], "is ''"),
        ({**GOOD, "PROTECTED_ALIASES": "champion"}, ["mlp.E001"], "which is not a tuple"),
        ({**GOOD, "PROTECTED_ALIASES": ["Champion"]}, ["mlp.E001"], "is ('Champion',)"),
        ({**GOOD, "PROTECTED_ALIASES": ["c"]}, ["mlp.E001"], "is ('c',)"),
        ({**GOOD, "PROTECTED_ALIASES": [None]}, ["mlp.E001"], "is (None,)"),
        ({**GOOD, "PROTECTED_ALIASES": ["default"]}, ["mlp.E001"], "is ('default',)"),
        ({**GOOD, "INSTALLATION": "My Shop"}, ["mlp.E001"], "is 'My Shop'"),
        ({**GOOD, "INSTALLATION": "x" * 64}, ["mlp.E001"], "is 'xxx"),
        ({**GOOD, "SERVING_IMAGE": ""}, ["mlp.E001"], "is ''"),
        ({**GOOD, "BASE_TEMPLATE": ""}, ["mlp.E001"], "is ''"),
        ({**GOOD, "BASE_TEMPLATE": "no/such.html"}, ["mlp.E012"], "which does not exist"),
        ({**GOOD, "CALL_TIMEOUT": 30.0}, ["mlp.E013"], "is 60, and CALL_TIMEOUT 30"),
        ({**GOOD, "PROJECTS_FOR_USER": "no.such.thing"}, ["mlp.E014"], "'no.such.thing'"),
        ({**GOOD, "API_AUTHENTICATE": "no.such.thing"}, ["mlp.E014"], "'API_AUTHENTICATE'"),
        ({**GOOD, "PROJECTS_FOR_USER": "ml_platform.conf.OWN_BASE"}, ["mlp.E014"], "not callable"),
    ],
)  # fmt: skip
def test_a_wrong_setting_gets_its_id_its_sentence_and_a_hint(settings, given, ids, says):
    messages = found(settings, given)
    assert [message.id for message in messages] == ids
    assert says in messages[0].msg
    assert messages[0].hint


@pytest.mark.parametrize("given", ["runs", "/runs/", "runs/"])
def test_slashes_around_the_prefix_mean_nothing(settings, given):
    settings.ML_PLATFORM = {**GOOD, "ARTIFACTS_PREFIX": given}
    assert get_settings().ARTIFACTS_PREFIX == "runs"


def test_a_local_cloud_is_refused_in_production_and_nowhere_else(settings, monkeypatch):
    assert found(settings, GOOD | LOCAL) == []  # the demo host is installed here
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != DEMO]
    assert found(settings, GOOD | LOCAL) == []  # Django's test runner turned DEBUG off
    monkeypatch.delattr(mail, "outbox")
    assert [message.id for message in found(settings, GOOD | LOCAL)] == ["mlp.E008"]
    settings.DEBUG = True
    assert found(settings, GOOD | LOCAL) == []


@pytest.mark.parametrize(
    ("tasks", "ids"),
    [
        ({}, ["mlp.W002"]),
        ({"default": {"BACKEND": f"{BACKENDS}.immediate.ImmediateBackend"}}, ["mlp.W002"]),
        ({"default": {"BACKEND": f"{BACKENDS}.dummy.DummyBackend"}}, ["mlp.W002"]),
        ({"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}, []),
        ({"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []}}, []),
        ({"default": {"BACKEND": "x.y", "QUEUES": ["low", "default"]}}, []),
        ({"default": {"BACKEND": "x.y", "QUEUES": ["low"]}}, ["mlp.E020"]),
    ],
)  # fmt: skip
def test_tasks_without_a_worker_are_warned_of(settings, tasks, ids):
    settings.TASKS = tasks
    assert [message.id for message in found(settings, GOOD)] == ids


@pytest.mark.parametrize("model", ["auth.Group", "sessions.Session", "ml_platform.Operation"])
def test_a_project_model_may_have_any_short_key(settings, model):
    settings.ML_PLATFORM_PROJECT_MODEL = model
    assert found(settings, GOOD) == []


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (models.CharField(max_length=65), "CharField"),
        (models.CharField(), "CharField"),
        (models.FloatField(), "FloatField"),
    ],
)
def test_a_project_model_whose_key_fits_no_lock_is_refused(settings, monkeypatch, key, says):
    monkeypatch.setattr(host, "key_field", lambda _: key)
    (message,) = found(settings, GOOD)
    assert message.id == "mlp.E015"
    assert f"primary key is a {says}." in message.msg
    assert "up to 64 characters" in str(message.hint)


MIDDLEWARE = ("sessions.middleware.SessionMiddleware", "auth.middleware.AuthenticationMiddleware")


@pytest.mark.parametrize(
    ("changes", "ids", "says"),
    [
        ({"USE_TZ": False}, ["mlp.E016"], "USE_TZ is False."),
        ({"MIDDLEWARE": []}, ["mlp.E018"], "SessionMiddleware and no django.contrib.auth"),
        ({"MIDDLEWARE": [f"django.contrib.{MIDDLEWARE[0]}"]}, ["mlp.E018"], "no django.contrib.a"),
        ({"MIDDLEWARE": [f"django.contrib.{one}" for one in MIDDLEWARE]}, [], ""),
        ({"LOGIN_URL": "no_such_pattern"}, ["mlp.W003"], "names no URL pattern"),
        ({"LOGIN_URL": "/nowhere/"}, ["mlp.W003"], "where no page is"),
        ({"LOGIN_URL": "https://sign-in.example.com/"}, [], ""),
        ({"ROOT_URLCONF": "ml_platform.tests.unit.urls_below"}, ["mlp.E019"], "a parameter"),
        ({"ROOT_URLCONF": "ml_platform.tests.unit.urls_none"}, ["mlp.E019"], "are not mounted"),
        ({"ML_PLATFORM": None}, ["mlp.E001"], "ML_PLATFORM is None, which is not a dict."),
        ({"ML_PLATFORM": GOOD | {"TEMPLATE_DIR": Path("/srv/pipelines")}}, [], ""),
    ],
)
def test_a_host_that_cannot_hold_the_app_is_told_so(settings, monkeypatch, changes, ids, says):
    for module, urls in URLS.items():
        monkeypatch.setitem(sys.modules, f"ml_platform.tests.unit.{module}", urls)
    settings.ML_PLATFORM, settings.LOGIN_URL = GOOD, "https://sign-in.example.com/"
    for name, value in changes.items():
        setattr(settings, name, value)
    messages = check_settings()
    assert [message.id for message in messages] == ids
    assert all(says in message.msg and message.hint for message in messages)


def test_a_database_of_another_kind_is_refused(settings, monkeypatch):
    monkeypatch.setattr(type(connections["default"]), "vendor", "mysql")
    (message,) = found(settings, GOOD)
    assert (message.id, message.msg) == ("mlp.E017", "The database 'default' is mysql.")


class UsersElsewhere:
    """A router with a database for users alone."""

    def db_for_write(self, model: type, **hints: object) -> str | None:
        return "people" if model.__name__ == "User" else None


def test_a_router_that_writes_to_several_databases_is_refused(settings):
    settings.DATABASE_ROUTERS = [f"{__name__}.UsersElsewhere"]
    (message,) = found(settings, GOOD)
    assert (message.id, message.msg.endswith("users to default and people.")) == ("mlp.E017", True)


def test_django_itself_runs_the_checks(settings):
    settings.ML_PLATFORM = {**GOOD, "LOCATION": "mars"}
    assert "mlp.E004" in [message.id for message in checks.run_checks()]
