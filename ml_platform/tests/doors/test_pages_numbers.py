"""The dashboards' numbers: four counts from one definition, a fixed number of queries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ml_platform import kpis
from ml_platform.models import (
    Finding,
    MirroredModel,
    Project,
    RegisteredModel,
    ServiceDailyMetrics,
    Sweep,
)
from ml_platform.models.states import SweepStatus
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    version_of,
)
from ml_platform.tests.incident_rows import finished_sweep, incident_rows

NOW = datetime(2026, 2, 8, 12, tzinfo=UTC)
REFUSED = {"vertex": {"read": False, "reason": "Permission denied.", "code": "cloud_denied"}}

pytestmark = pytest.mark.django_db


def numbers(counts: kpis.FourCounts) -> tuple[int | None, ...]:
    return counts.database, counts.projects, counts.registry_page, counts.vertex


def test_the_incident_counts_eight_three_times_and_nine_in_vertex():
    incident_rows(NOW)
    counts = kpis.four_counts()
    assert RegisteredModel.objects.count() == 10
    assert numbers(counts) == (8, 8, 8, 9)
    assert counts.agree is False
    assert counts.swept_at == counts.vertex_read_at == NOW - timedelta(minutes=2)


def test_a_version_moves_our_three_counts_together():
    incident_rows(NOW)
    version_of(RegisteredModelFactory.create(), vertex_id="1")
    assert numbers(kpis.four_counts())[:3] == (9, 9, 9)


def test_counts_agree_once_the_planes_hold_the_same_models():
    lineage = RegisteredModelFactory.create()
    version_of(lineage, vertex_id="77")
    mirror(finished_sweep(NOW), "77")
    counts = kpis.four_counts()
    assert numbers(counts) == (1, 1, 1, 1)
    assert counts.agree is True


def test_vertex_is_unknown_before_the_first_sweep_and_while_it_runs():
    finished_sweep(NOW, status=SweepStatus.RUNNING, finished_at=None)
    counts = kpis.four_counts()
    assert (counts.vertex, counts.vertex_reason, counts.swept_at) == (None, kpis.NEVER_SWEPT, None)
    assert counts.agree is None


def test_vertex_is_unknown_when_the_newest_sweep_could_not_read_it():
    incident_rows(NOW)
    finished_sweep(NOW, status=SweepStatus.PARTIAL, planes=REFUSED, finished_at=NOW)
    counts = kpis.four_counts()
    assert (counts.vertex, counts.vertex_reason) == (None, "Permission denied.")
    assert counts.swept_at == NOW
    assert counts.vertex_read_at == NOW - timedelta(minutes=2)
    assert counts.agree is None


def test_a_plane_that_a_sweep_does_not_mention_was_not_read():
    assert kpis.unread_because({}, "vertex") == "That sweep did not read it."
    assert kpis.unread_because({"vertex": {"read": True}}, "vertex") == ""


def test_counts_of_some_projects_hold_only_what_is_theirs_in_vertex_too():
    incident_rows(NOW)
    mine = RegisteredModelFactory.create()
    version_of(mine, vertex_id="77")
    mirror(Sweep.objects.get(), "77")
    counts = kpis.four_counts(Project.objects.filter(pk=mine.project_id))
    assert numbers(counts) == (1, 1, 1, 1)
    assert numbers(kpis.four_counts(Project.objects.none())) == (0, 0, 0, 0)


def test_ours_differ_whatever_vertex_says():
    for vertex in (None, 7, 8):
        counts = kpis.FourCounts(database=8, projects=7, registry_page=8, vertex=vertex)
        assert counts.agree is False


def test_assets_and_the_project_card_tell_the_incident():
    project = incident_rows(NOW)
    assert kpis.assets() == kpis.Assets(
        models=8,
        versions=16,
        deployed=2,
        endpoints_active=2,
        endpoints_total=3,
        runs=18,
        runs_live=0,
        schedules_live=0,
    )
    [card] = kpis.project_cards([project])
    assert (card.models, card.versions, card.deployed) == (8, 16, 2)
    assert (card.endpoints_active, card.endpoints_total, card.runs) == (2, 3, 18)
    assert kpis.assets([project]) == kpis.assets()


def test_a_project_without_anything_has_a_card_of_zeros():
    project = ProjectFactory.create(name="empty")
    [card] = kpis.project_cards([project])
    assert card == kpis.ProjectCard(project_id=project.pk, name="empty")


@pytest.mark.parametrize("projects", [1, 7])
def test_numbers_take_the_same_queries_however_much_there_is(
    django_assert_num_queries, projects: int
):
    incident_rows(NOW)
    for n in range(1, projects):
        version_of(RegisteredModelFactory.create(), vertex_id=str(n))
    shown = list(Project.objects.all())
    assert len(shown) == projects
    for queries, call in (
        (2, kpis.four_counts),
        (2, kpis.serving_count),
        (1, kpis.assets),
        (5, lambda: kpis.project_cards(shown)),
        (2, lambda: kpis.history(today=NOW.date())),
        (1, kpis.open_findings),
    ):
        with django_assert_num_queries(queries):
            call()


def test_history_adds_up_and_counts_what_is_older_on_its_first_day():
    lineage = RegisteredModelFactory.create()
    for age in (200, 2, 1):
        version_of(lineage, registered_at=NOW - timedelta(days=age))
    version_of(RegisteredModelFactory.create(), registered_at=NOW - timedelta(days=1))
    points = kpis.history(today=NOW.date(), days=4)
    assert [(p.models, p.versions) for p in points] == [(1, 1), (1, 2), (2, 4), (2, 4)]
    assert points[-1].day == NOW.date()


def test_open_findings_are_counted_by_kind_and_project():
    project = incident_rows(NOW)
    assert kpis.open_findings() == {"stale_pointer": 1, "unmanaged": 2, "orphan": 2}
    assert kpis.open_findings([project.pk]) == {"stale_pointer": 1, "orphan": 2}


def mirror(sweep: Sweep, model_id: str) -> None:
    MirroredModel.objects.create(
        model_id=model_id,
        resource_name=f"projects/1/locations/europe-central2/models/{model_id}",
        display_name="m",
        version="1",
        seen_sweep=sweep,
        seen_at=NOW,
    )


def test_traffic_compares_seven_full_days_with_the_seven_before():
    endpoint = DeployedEndpointFactory.create(service_name="svc")
    project = endpoint.project
    for ago, requests, p95 in ((0, 999, 999.0), (1, 70, 80.0), (7, 30, 95.0), (8, 50, 300.0)):
        ServiceDailyMetrics.objects.create(
            service_name="svc", endpoint=endpoint, project=project, read_at=NOW, complete=True,
            day=NOW.date() - timedelta(days=ago), requests=requests, latency_p95=p95,
        )  # fmt: skip
    ServiceDailyMetrics.objects.create(
        service_name="old", project=project, read_at=NOW, requests=7,
        day=NOW.date() - timedelta(days=15),
    )  # fmt: skip
    found = kpis.traffic([project.pk], today=NOW.date())
    assert found == {
        project.pk: kpis.Traffic(
            requests=kpis.Sum(of_known=100, known=2, days=7),
            before=kpis.Sum(of_known=50, known=1, days=7),
            p95=95.0,
            days=(*[None] * 6, 50, 30, *[None] * 5, 70),
        )
    }
    assert kpis.traffic([], today=NOW.date()) == {}


def test_drift_is_what_stood_at_the_end_of_each_day():
    def stood(name: str, first: int, ended: int | None, status: str) -> None:
        Finding.objects.create(
            kind="orphan", subject=name, title=name, repair="r", status=status,
            first_seen_at=NOW - timedelta(days=first), last_seen_at=NOW,
            ended_at=None if ended is None else NOW - timedelta(days=ended),
        )  # fmt: skip

    stood("long", 40, None, "open")
    stood("short", 3, 1, "repaired")
    stood("new", 0, None, "ignored")
    stood("past", 50, 45, "gone")
    assert kpis.drift_history(today=NOW.date(), days=5) == (1, 2, 2, 1, 2)
