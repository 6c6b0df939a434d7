"""What cannot be trained is refused before anything is kept, in a sentence: 422, never a defect."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from ml_platform.models import Operation, Project, TrainingRun, TrainingSchedule
from ml_platform.services.training.plain_values import DEEPEST
from ml_platform.tests.factories import ProjectFactory
from ml_platform.tests.services.training_tools import BUCKET, SPEC

from .api_tools import bearer, keeps_contract, member_of, post

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
URI = f"gs://{BUCKET}/templates/t.json"
RUNS, SCHEDULES = "/api/training-runs/", "/api/training/schedules/"


@pytest.fixture
def project() -> Project:
    made: Project = ProjectFactory.create()
    return made


@pytest.fixture
def ana(project: Project, settings: Any) -> Client:
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "https://ml.example.org/",
        "WEBHOOK_SERVICE_ACCOUNTS": ("ringer@demo-project.iam.gserviceaccount.com",),
    }
    return bearer(member_of(project, name="ana"))


def refused(client: Client, path: str, project: Project, **given: Any) -> dict[str, Any]:
    """Ask for a run or a schedule, hear 422, and find nothing kept."""
    body = {"project": project.pk, "model_name": "m", "template_uri": URI, **given}
    if path == SCHEDULES:
        body |= {"name": "nightly", "frequency": "daily", "first": "2100-01-01T03:00:00Z"}
    for headers in ({}, {"HTTP_IDEMPOTENCY_KEY": "k"}):
        answer = post(client, path, body, **headers)
        assert answer.status_code == 422, answer.content[:500]
        keeps_contract(answer, path, "post")
    assert not TrainingRun.objects.exists()
    assert not TrainingSchedule.objects.exists()
    assert not Operation.objects.exists()
    told: dict[str, Any] = answer.json()
    return told


@pytest.mark.parametrize("path", [RUNS, SCHEDULES])
@pytest.mark.parametrize("levels", [DEEPEST + 1, 60])
def test_parameters_that_are_too_deep(
    cloud: LocalCloud, ana: Client, project: Project, path: str, levels: int
) -> None:
    cloud.storage.write(BUCKET, "templates/t.json", json.dumps(SPEC).encode())
    deep: Any = 1
    for _ in range(levels):
        deep = [deep]
    told = refused(ana, path, project, parameters={"note": deep})
    assert told["code"] == "bad_parameters"
    assert "more than 30 levels deep" in told["detail"]
    assert told["advice"]


@pytest.mark.parametrize("path", [RUNS, SCHEDULES])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"deploymentSpec": {"command": "a\0b"}}, "NUL character"),
        ({"deploymentSpec": {"command": "\ud800"}}, "half of a surrogate pair"),
        ({"deploymentSpec": {"seed": 2**60}}, "a number that Vertex AI cannot take exactly"),
        ({"schemaVersion": f"2.{'9' * 5000}"}, "not a version"),
        (
            {"root": {"dag": {}, "inputDefinitions": {"artifacts": {"data": {}}}}},
            "needs data as an input artifact",
        ),
        ({"pipelineSpec": SPEC, "serviceAccount": "x@y"}, "sets serviceAccount"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_template_that_no_run_can_start(
    cloud: LocalCloud, ana: Client, project: Project, path: str, change: Any, sentence: str
) -> None:
    template = change if "pipelineSpec" in change else {**SPEC, **change}
    cloud.storage.write(BUCKET, "templates/t.json", json.dumps(template).encode())
    told = refused(ana, path, project)
    assert sentence in told["detail"]
    assert told["advice"]
