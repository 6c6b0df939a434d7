"""Numbers and badges over rows that tell one definition from another."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from ml_platform import kpis
from ml_platform.models import Finding, Project, RegisteredModel, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.models.states import FindingStatus, RunStatus, ScheduleState
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    version_of,
)

from .api_tools import logged_in, member_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    """Two models; the first has two versions, two services that serve and one that is stopped."""
    made: Project = ProjectFactory.create(name="shop")
    first = RegisteredModelFactory.create(project=made, model_name="served")
    versions = [version_of(first), version_of(first)]
    for run, serving in zip((*versions, versions[0]), (True, True, False), strict=True):
        DeployedEndpointFactory.create(registered_model=first, run=run, serving=serving)
    stopped = RegisteredModelFactory.create(project=made, model_name="stopped")
    DeployedEndpointFactory.create(registered_model=stopped, run=version_of(stopped))
    RegisteredModelFactory.create(project=made, model_name="never-registered")
    TrainingRunFactory.create(project=made, failed=True)
    TrainingRunFactory.create(project=made, status=RunStatus.RUNNING)
    for state in (ScheduleState.ACTIVE, ScheduleState.PAUSED, ScheduleState.CANCELLED):
        TrainingScheduleFactory.create(registered_model=stopped, state=state)
    return made


@pytest.fixture
def client(project: Project) -> Client:
    return logged_in(member_of(project))


def row(client: Client, project: Project, name: str) -> str:
    """The text of a model's row on the training page."""
    page = client.get(f"/projects/{project.pk}/training/").content.decode()
    section = page[page.index('<section id="models"') : page.index('<section id="endpoints"')]
    rows = [part for part in section.split("<tr") if f">{name}<" in part]
    assert len(rows) == 1, name
    return " ".join(re.sub(r"<[^>]*>", " ", rows[0].partition(">")[2]).split())


def test_assets_count_each_thing_by_its_own_definition(project: Project):
    other = version_of(RegisteredModelFactory.create())
    assert other.project_id != project.pk
    assert kpis.assets([project.pk]) == kpis.Assets(
        models=2, versions=3, deployed=1, endpoints_active=2, endpoints_total=4, runs=5,
        runs_live=1, schedules_live=2,
    )  # fmt: skip


def test_a_projects_card_counts_as_the_assets_do(project: Project):
    (card,) = kpis.project_cards([project])
    assets = kpis.assets([project.pk])
    for name in ("models", "versions", "deployed", "endpoints_active", "endpoints_total", "runs"):
        assert getattr(card, name) == getattr(assets, name), name
    assert card.runs_live == assets.runs_live


def test_what_is_ignored_is_not_open_and_stands_all_the_same(project: Project):
    now = database_now()
    for number, status in enumerate(
        (FindingStatus.OPEN, FindingStatus.IGNORED, FindingStatus.REPAIRED, FindingStatus.GONE)
    ):
        Finding.objects.create(
            kind="orphan", subject=str(number), title="x", project=project, status=status,
            first_seen_at=now, last_seen_at=now,
            ended_at=now if status in ("repaired", "gone") else None,
        )  # fmt: skip
    assert kpis.open_findings([project.pk]) == {"orphan": 1}
    assert kpis.drift_history(today=now.date(), days=1, projects=[project.pk]) == (2,)


def test_a_model_serves_while_one_of_its_services_does(client: Client, project: Project):
    assert "Deployed" in row(client, project, "served")
    stopped = row(client, project, "stopped")
    assert ("Deployed" in stopped, "Idle" in stopped) == (False, True)


@pytest.mark.parametrize(
    ("said", "shown"), [(None, "Unknown"), (True, "Blessed"), (False, "Not blessed")]
)
def test_no_verdict_is_neither_blessed_nor_not(
    client: Client, project: Project, said: Any, shown: str
):
    runs = TrainingRun.objects.filter(registered_model__model_name="stopped")
    assert runs.update(is_blessed=said) == 1
    text = row(client, project, "stopped")
    told = re.findall(r"Not blessed|Blessed", text)
    assert told == ([] if said is None else [shown])


def test_a_row_tells_the_newest_version_and_how_many_there_are(client: Client, project: Project):
    assert "v2 of 2" in row(client, project, "served")
    lineage = RegisteredModel.objects.get(model_name="stopped")
    lineage.next_version = 10
    lineage.save()
    version_of(lineage)
    assert "v10 2 registered" in row(client, project, "stopped")
