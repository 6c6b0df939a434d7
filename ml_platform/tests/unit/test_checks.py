"""System checks: each wrong setting gets its id, its sentence and a hint; good ones get silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from django.core import checks

from ml_platform.checks import DEMO, check_settings
from ml_platform.conf import get_settings

GOOD = {"PROJECT_ID": "my-project", "LOCATION": "europe-central2", "BUCKET": "my-artifacts"}
LOCAL = {"LOCAL_CLOUD": "127.0.0.1:8790", "LOCAL_CLOUD_HTTP": "http://127.0.0.1:8791"}
BACKENDS = "django_tasks.backends"
HOOKS = {
    "PUBLIC_URL": "https://ml.example.com/",
    "WEBHOOK_SERVICE_ACCOUNTS": ["caller@my-project.iam.gserviceaccount.com"],
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
        ({**GOOD, "PROJECTS_FOR_USER": "ml_platform.checks.DEMO"}, ["mlp.E014"], "not callable"),
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


def test_a_local_cloud_is_refused_in_production_and_nowhere_else(settings):
    assert found(settings, GOOD | LOCAL) == []  # the demo host is installed here
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != DEMO]
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
    ],
)  # fmt: skip
def test_tasks_without_a_worker_are_warned_of(settings, tasks, ids):
    settings.TASKS = tasks
    assert [message.id for message in found(settings, GOOD)] == ids


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("auth.Group", ""),
        ("sessions.Session", "CharField, not an integer"),
        ("ml_platform.Operation", "UUIDField, not an integer"),
    ],
)
def test_a_project_model_without_an_integer_key_is_refused(settings, model, says):
    settings.ML_PLATFORM_PROJECT_MODEL = model
    messages = found(settings, GOOD)
    assert [message.id for message in messages] == (["mlp.E015"] if says else [])
    assert all(says in message.msg and message.hint for message in messages)


def test_django_itself_runs_the_checks(settings):
    settings.ML_PLATFORM = {**GOOD, "LOCATION": "mars"}
    assert "mlp.E004" in [message.id for message in checks.run_checks()]
