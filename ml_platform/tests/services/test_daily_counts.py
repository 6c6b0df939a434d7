"""The chart of the starting page is history: what was counted on a day stays what it was."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from ml_platform import kpis
from ml_platform.cloud.transport import channels
from ml_platform.models import DailyCount, DeployedEndpoint, Project, RegisteredModel, TrainingRun
from ml_platform.pages.view_models.charts import history_chart
from ml_platform.services.sweeps.daily_counts import keep_daily_counts
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    FindingFactory,
    ProjectFactory,
    RegisteredModelFactory,
    version_of,
)

from .world import ANA, Clock

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 10, 21, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def project() -> Project:
    made: Project = ProjectFactory.create()
    return made


def registered(project: Project, at: datetime, versions: int = 1) -> RegisteredModel:
    lineage: RegisteredModel = RegisteredModelFactory.create(project=project)
    for _ in range(versions):
        version_of(lineage, registered_at=at)
    return lineage


def delete(lineage: RegisteredModel) -> None:
    """End a model and all its versions, without a trace in our tables."""
    DeployedEndpoint.objects.filter(registered_model=lineage).delete()
    RegisteredModel.objects.filter(pk=lineage.pk).update(
        vertex_model_resource_name="", total_versions=0, latest_run=None, latest_registered_at=None
    )
    TrainingRun.objects.filter(registered_model=lineage).delete()
    lineage.delete()


def history(today: date, days: int = 4, **scope: Any) -> list[tuple[int | None, int | None]]:
    return [(p.models, p.versions) for p in kpis.history(today=today, days=days, **scope)]


def kept(day: date) -> dict[str, tuple[int | None, ...]]:
    rows = DailyCount.objects.filter(day=day)
    numbers = ("models", "versions", "deployed", "findings")
    return {row.project_key: tuple(getattr(row, name) for name in numbers) for row in rows}


@pytest.mark.slow
def test_a_sweep_keeps_the_counts_of_its_day_and_the_last_one_counts(cloud, project):
    channels.storage_client().create_bucket("demo-artifacts")
    other = ProjectFactory.create()
    lineage = registered(project, NOW - DAY, versions=2)
    DeployedEndpointFactory.create(registered_model=lineage, run=lineage.latest_run, serving=True)
    registered(other, NOW - DAY)
    clock = Clock(NOW)
    sweep(actor=ANA, clock=clock)
    first = kept(NOW.date())
    assert (first[str(project.pk)][:3], first[str(other.pk)][:3]) == ((1, 2, 1), (1, 1, 0))
    registered(project, NOW)
    clock.forward(3600)
    sweep(actor=ANA, clock=clock)
    later = kept(NOW.date())
    assert later[str(project.pk)][:3] == (2, 3, 1)
    assert later.keys() == first.keys() == {"", str(project.pk), str(other.pk)}


def test_what_is_deleted_later_does_not_change_the_past(project):
    doomed = registered(project, NOW - 2 * DAY, versions=3)
    registered(project, NOW - DAY)
    keep_daily_counts(now=NOW)
    today = NOW.date()
    before = history(today)
    assert before == [(0, 0), (1, 3), (2, 4), (2, 4)]
    delete(doomed)
    assert history(today) == [*before[:3], (1, 1)]  # today is as it is now
    assert history(today, projects=[project.pk]) == history(today)
    assert history(today + DAY) == [(1, 3), (2, 4), (2, 4), (1, 1)]


def test_a_day_that_no_sweep_counted_is_unknown(project):
    registered(project, NOW - DAY)
    FindingFactory.create(project=project, first_seen_at=NOW)
    keep_daily_counts(now=NOW)
    today = NOW.date() + 3 * DAY
    assert history(today, days=5) == [(1, 1), (1, 1), (None, None), (None, None), (1, 1)]
    assert kpis.drift_history(today=today, days=5) == (0, 1, None, None, 1)


def test_without_a_sweep_the_registrations_of_now_tell_the_past(project):
    registered(project, NOW - DAY)
    assert history(NOW.date(), days=3) == [(0, 0), (1, 1), (1, 1)]
    assert not DailyCount.objects.exists()


def test_a_project_that_had_nothing_on_a_counted_day_had_zero(project):
    keep_daily_counts(now=NOW)
    registered(project, NOW + DAY)
    assert history(NOW.date() + DAY, days=2, projects=[project.pk]) == [(0, 0), (1, 1)]


def test_counts_of_a_project_are_its_own_and_those_of_all_stay_when_it_goes(project):
    gone = ProjectFactory.create()
    lineage = registered(gone, NOW)
    registered(project, NOW)
    FindingFactory.create(project=None)
    keep_daily_counts(now=NOW)
    tomorrow = NOW.date() + DAY
    assert history(tomorrow, days=2, projects=[project.pk])[0] == (1, 1)
    assert kpis.drift_history(today=tomorrow, days=2, projects=[project.pk])[0] == 0
    assert kpis.drift_history(today=tomorrow, days=2)[0] == 1
    delete(lineage)
    gone.delete()
    assert history(tomorrow, days=2) == [(2, 2), (1, 1)]


def test_findings_that_ended_stay_in_the_days_before(project):
    finding = FindingFactory.create(project=project, first_seen_at=NOW)
    keep_daily_counts(now=NOW)
    finding.delete()
    assert kpis.drift_history(today=NOW.date() + DAY, days=2) == (1, 0)


@pytest.mark.slow
def test_the_chart_has_gaps_where_nobody_counted(admin_client: Client, project):
    from ml_platform.models.clock import database_now

    now = database_now()
    registered(project, now - 80 * DAY)
    keep_daily_counts(now=now - 30 * DAY)
    keep_daily_counts(now=now - 10 * DAY)
    chart = admin_client.get("/").context["page"]["chart"]
    *registrations, verified = chart["lines"]
    for line in registrations:
        assert len(line["parts"]) == 3  # to the first, the second, and today
    assert [line["name"] for line in registrations] == ["versions", "models"]
    assert len(verified["parts"]) == 2  # no sweep has counted today
    assert verified["label"] == "verified: unknown"
    assert "28 days were not counted." in chart["summary"]
    keep_daily_counts(now=now)
    *_, verified = admin_client.get("/").context["page"]["chart"]["lines"]
    assert (len(verified["parts"]), verified["label"]) == (3, "0 verified")


def test_what_served_verified_versions_is_charted_as_the_sweeps_counted_it(project):
    registered(project, NOW - DAY)
    for ago, known in ((2, True), (1, False), (0, True)):
        keep_daily_counts(now=NOW - ago * DAY, serving_known=known)
    DailyCount.objects.filter(day=NOW.date(), project=project).update(serving_verified=4)
    for scope in ({}, {"projects": [project.pk]}):
        points = kpis.history(today=NOW.date(), days=4, **scope)
        assert [point.serving_verified for point in points] == [None, 0, None, 4]
    chart = history_chart(points)
    assert chart["lines"][-1]["label"] == "4 verified"
    assert chart["summary"].endswith("On 2026-03-10, 4 endpoints served verified versions only.")
