"""Each count is of its own definition: over rows that any other definition counts differently."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from ml_platform import kpis
from ml_platform.models import RegisteredModel, TrainingRun
from ml_platform.tests.factories import DAY, LONG_AGO, varied_project

pytestmark = pytest.mark.django_db

ONE = {"models": 1, "versions": 2, "deployed": 1, "endpoints_active": 2, "endpoints_total": 3,
       "runs": 7, "runs_live": 1}  # fmt: skip


def test_the_assets_of_a_project_and_of_all_projects():
    first, _ = varied_project(), varied_project()
    assert asdict(kpis.assets([first.pk])) == {**ONE, "schedules_live": 2}
    twice = {name: 2 * count for name, count in {**ONE, "schedules_live": 2}.items()}
    assert asdict(kpis.assets()) == twice


def test_the_cards_of_two_projects():
    projects = [varied_project(name="one"), varied_project(name="two")]
    cards = [asdict(card) for card in kpis.project_cards(projects)]
    assert [card.pop("project_id") for card in cards] == [project.pk for project in projects]
    newest = {"latest_registered_at": LONG_AGO + DAY}
    assert cards == [{**ONE, **newest, "name": name} for name in ("one", "two")]


def test_a_model_without_versions_is_in_none_of_the_counts_of_registered_models():
    project = varied_project()
    counts = kpis.four_counts([project.pk])
    assert RegisteredModel.objects.filter(project=project).count() == 2
    assert (counts.database, counts.projects, counts.registry_page) == (1, 1, 1)


def test_version_10_is_newer_than_version_9():
    project = varied_project()
    [model] = kpis.registry_page_models([project.pk])
    assert model.latest_run is not None
    assert (model.latest_run.version, model.total_versions) == (10, 2)
    versions = TrainingRun.objects.versions().filter(project=project).order_by("version")
    assert [run.version for run in versions] == [9, 10]


def test_the_days_on_which_a_model_and_its_second_version_came():
    varied_project()
    points = kpis.history(today=(LONG_AGO + DAY).date(), days=3)
    assert [(point.models, point.versions) for point in points] == [(0, 0), (1, 1), (1, 2)]


def test_an_ignored_finding_is_not_open_and_still_stands():
    first, _ = varied_project(), varied_project()
    assert kpis.open_findings([first.pk]) == {"orphan": 2}
    assert kpis.open_findings() == {"orphan": 4}
    assert kpis.drift_history(today=LONG_AGO.date(), days=2, projects=[first.pk]) == (0, 3)
