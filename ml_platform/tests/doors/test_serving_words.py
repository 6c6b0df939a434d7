"""Deployed, outdated, idle: one definition, so every door says the same of the same model."""

from __future__ import annotations

from collections import Counter
from itertools import product
from random import Random
from typing import Any

import pytest
from django.utils import timezone

from ml_platform import kpis
from ml_platform.errors import PlatformError
from ml_platform.models import Project, RegisteredModel, TrainingRun
from ml_platform.models.endpoints.serving_status import with_serving_status
from ml_platform.models.states import HOLDS_POINTER, Approval, Registration, RunStatus
from ml_platform.services.deployment.deployable import require_deployable
from ml_platform.services.sweeps.audit import our_rows
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    version_of,
)
from ml_platform.tests.incident_rows import finished_sweep

from .api_tools import bearer, logged_in, member_of

pytestmark = pytest.mark.django_db
WORDS = ("deployed", "outdated", "idle")
NOT_DECIDED = {"approval_by": "", "approval_reason": "", "approval_at": None}
NO_POINTER = {
    "vertex_model_resource_name": "", "vertex_model_name": "", "vertex_model_version": "",
    "registered_at": None,
}  # fmt: skip


def lose(run: TrainingRun) -> None:
    """Record that a version is gone, as a repair does; the newest of its model stays."""
    TrainingRun.objects.filter(pk=run.pk).update(registration=Registration.LOST, **NO_POINTER)
    lineage: Any = run.registered_model
    lineage.total_versions -= 1
    lineage.save()
    run.refresh_from_db()


def model(project: Project, *versions: bool | None, serves: Any = ()) -> RegisteredModel:
    """A model with a version for each verdict of its evaluator, and what is served of it."""
    lineage: RegisteredModel = RegisteredModelFactory.create(project=project)
    runs = [version_of(lineage) for _ in versions]
    for run, blessed in zip(runs, versions, strict=True):
        run.is_blessed = blessed
        run.status = RunStatus.COMPLETED if blessed is not False else RunStatus.NOT_BLESSED
        run.save()
    for number in serves:
        DeployedEndpointFactory.create(registered_model=lineage, run=runs[number - 1], serving=True)
    DeployedEndpointFactory.create(registered_model=lineage, run=runs[-1])  # it was stopped
    return lineage


def said(project: Project) -> dict[str, dict[str, str]]:
    """What each door calls each model of the project, by name of the model."""
    client, browser = bearer(member_of(project)), logged_in(member_of(project))
    url = f"/projects/{project.pk}/training/"
    items = client.get("/api/models/?page_size=100").json()["items"]
    rows = browser.get(url).context["page"]["registry"]["rows"]
    sweep = finished_sweep(timezone.now())
    return {
        "row": {item["name"]: item["deployment"]["status"] for item in items},
        "status=": {
            item["name"]: word
            for word in WORDS
            for item in client.get(f"/api/models/?page_size=100&status={word}").json()["items"]
        },
        "table": {row["link"].text: row["serving"].label.lower() for row in rows},
        "filter": {
            row["link"].text: word
            for word in WORDS
            for row in browser.get(url, {"state": word}).context["page"]["registry"]["rows"]
        },
        "audit": {
            row.name: row.serving for row in our_rows(sweep, project=project) if row.versions
        },
    }


def counted(project: Project) -> list[dict[str, int]]:
    """How many are deployed and registered, by each door that counts them."""
    [card] = kpis.project_cards([project])
    client = bearer(member_of(project))
    kpi = client.get("/api/models/").json()["kpi"]
    body = client.get("/api/system/kpis/").json()
    assert kpi["deployed"] + kpi["outdated"] + kpi["idle"] == kpi["total"]
    return [
        {"deployed": kpi["deployed"], "models": kpi["total"]},
        {"deployed": card.deployed, "models": card.models},
        *({name: part[name] for name in ("deployed", "models")}
          for part in (body["assets"], body["projects"][0])),
    ]  # fmt: skip


@pytest.fixture
def project() -> Project:
    made: Project = ProjectFactory.create()
    return made


DECIDED: tuple[tuple[tuple[bool | None, ...], tuple[int, ...], str], ...] = (
    ((True,), (1,), "deployed"),
    ((True, True), (1,), "outdated"),
    ((True, True), (1, 2), "deployed"),
    ((True, True), (), "idle"),
    # A newer version that cannot be deployed does not make the model outdated.
    ((True, False), (1,), "deployed"),
    ((True, None), (1,), "deployed"),
    ((True, True, False), (1,), "outdated"),
    ((True, True, None), (2,), "deployed"),
    # Nothing newer could be deployed, although nobody could deploy this one today.
    ((None,), (1,), "deployed"),
    ((False,), (1,), "deployed"),
    ((None,), (), "idle"),
)
"""Verdicts of a model's versions, which of them are served, and what the model is called."""


@pytest.mark.slow
def test_the_newest_version_that_could_be_deployed_decides(project):
    words = {
        model(project, *versions, serves=serves).model_name: word
        for versions, serves, word in DECIDED
    }
    for door, told in said(project).items():
        assert told == words, door


@pytest.mark.slow
def test_a_version_that_is_gone_is_not_the_newest_and_what_serves_it_is_outdated(project):
    lineage = model(project, True, True, True, serves=(2,))
    lose(lineage.training_runs.get(version=2))
    name = lineage.model_name
    assert all(told == {name: "outdated"} for told in said(project).values())


@pytest.mark.slow
def test_a_model_that_is_not_registered_is_in_neither_number(project):
    """An endpoint may still serve the last version of a model that was lost: not `1 of 0`."""
    lineage = model(project, True, serves=(1,))
    TrainingRun.objects.update(registration=Registration.LOST, **NO_POINTER)
    RegisteredModel.objects.filter(pk=lineage.pk).update(
        vertex_model_resource_name="", total_versions=0, latest_run=None, latest_registered_at=None
    )
    assert counted(project) == [{"deployed": 0, "models": 0}] * 4
    assert not any(said(project).values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_all_doors_say_the_same_of_any_models(project, seed):
    random = Random(seed)
    for _ in range(12):
        versions = random.choices((True, False, None), (4, 1, 1), k=random.randint(1, 4))
        served = [n for n in range(1, len(versions) + 1) if random.random() < 0.4]
        lineage = model(project, *versions, serves=served)
        if len(versions) > 1 and random.random() < 0.3:
            lose(lineage.training_runs.get(version=1))
    expected = {lineage.model_name: told(lineage) for lineage in RegisteredModel.objects.all()}
    assert all(words == expected for words in said(project).values())
    numbers = {"deployed": Counter(expected.values())["deployed"], "models": 12}
    assert counted(project) == [numbers] * 4
    annotated = with_serving_status(RegisteredModel.objects.all())
    assert dict(annotated.values_list("model_name", "serving_status")) == expected


def told(lineage: RegisteredModel) -> str:
    """The word by the sentence of the design, over plain rows."""
    runs = list(lineage.training_runs.all())
    newest = max((run.version or 0 for run in runs if is_deployable(run)), default=0)
    active = lineage.deployed_endpoints.filter(is_active=True).select_related("run")
    served: list[Any] = [endpoint.run for endpoint in active]
    if not served:
        return "idle"
    new = (r.version >= newest and r.registration in HOLDS_POINTER for r in served)
    return "deployed" if any(new) else "outdated"


def is_deployable(run: TrainingRun) -> bool:
    try:
        require_deployable(run)
    except PlatformError:
        return False
    return True


@pytest.mark.slow
def test_the_rows_that_can_be_deployed_are_those_that_a_deploy_accepts(project):
    lineage = model(project, True)
    run = lineage.training_runs.get()
    for blessed, approval in product((True, False, None), Approval):
        by = {"approval_by": "ana", "approval_reason": "So.", "approval_at": timezone.now()}
        judged = {"is_blessed": blessed, "approval": approval, **(by if approval else NOT_DECIDED)}
        for status in RunStatus:
            for registration in Registration:
                run.is_blessed, run.approval = blessed, approval
                run.status, run.registration = status, registration
                pointer = run.vertex_model_resource_name if registration in HOLDS_POINTER else ""
                fields = {} if pointer else NO_POINTER
                TrainingRun.objects.filter(pk=run.pk).update(**NO_POINTER, registration="")
                TrainingRun.objects.filter(pk=run.pk).update(
                    **judged, status=status, registration=registration,
                    **(fields or {name: getattr(run, name) for name in NO_POINTER}),
                )  # fmt: skip
                found = TrainingRun.objects.deployable().filter(pk=run.pk).exists()
                assert found == is_deployable(run), (blessed, approval, status, registration)


@pytest.mark.parametrize("more", [0, 20])
def test_the_words_cost_no_statement_for_each_model(project, more, django_assert_num_queries):
    for _ in range(1 + more):
        model(project, True, True, serves=(1,))
    with django_assert_num_queries(1):
        rows = list(with_serving_status(RegisteredModel.objects.registered()))
    assert {row.serving_status for row in rows} == {"outdated"}
