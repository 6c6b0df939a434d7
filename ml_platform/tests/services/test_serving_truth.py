"""The fifth count: what active endpoints serve is registered, verified and unchanged, or it is
said; and each revision that requests may reach protects its version."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import run_v2

from ml_platform import kpis
from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.models import (
    DailyCount,
    DeployedEndpoint,
    EndpointTraffic,
    Finding,
    Operation,
    ServiceDailyMetrics,
    TrainingRun,
)
from ml_platform.models.clock import database_now
from ml_platform.models.states import EndpointState
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deletion.plan import DeployedModel
from ml_platform.services.deletion.preview import preview_deletion
from ml_platform.services.findings.comparisons.serving import REGISTER_AGAIN
from ml_platform.services.findings.kinds import FindingKind, Kind
from ml_platform.services.removal.guard import why_needed
from ml_platform.services.repairs.reconciliation import is_safe, repair_finding
from ml_platform.services.sweeps.audit import AuditVerdict, compare_sweep
from ml_platform.services.sweeps.sweep import sweep

from .deploy_tools import deploy, deployed, facts, finish, services, undeploy
from .people import edit_service
from .world import ANA, Clock, write_artifact

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
KIND = FindingKind.SERVING_UNVERIFIED
PINNED = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
LATEST = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST


@pytest.fixture
def clock() -> Clock:
    """The count compares what was verified with the database's clock."""
    return Clock(database_now())


@pytest.fixture
def endpoint(cloud: LocalCloud, clock: Clock) -> DeployedEndpoint:
    """An endpoint in order, which serves the first of two versions."""
    found, _ = deployed(cloud, clock, versions=2)
    assert look(clock) == AuditVerdict.AGREE
    cloud.effects.reset()
    return found


def look(clock: Clock) -> AuditVerdict:
    clock.forward(60)
    return compare_sweep(sweep(actor=ANA, clock=clock))


def rows() -> list[tuple[str, int, str, int | None]]:
    found = EndpointTraffic.objects.order_by("-percent", "tag")
    return [(r.revision, r.percent, r.tag, r.run_id) for r in found]


def finding() -> Finding:
    return Finding.objects.open().get(kind=FindingKind.SERVING_UNVERIFIED)


def serving() -> tuple[int, int | None, int, bool | None]:
    found = kpis.serving_count()
    return found.active, found.verified, found.unverified, found.whole


def repair(kind: Kind, clock: Clock) -> Operation:
    found = Finding.objects.open().get(kind=kind)
    return finish(repair_finding(finding=found, actor=ANA, now=clock()), clock)


def route(service_id: str, *targets: dict[str, Any]) -> None:
    """What `gcloud run services update-traffic` does."""
    edit_service(
        service_id,
        lambda service: setattr(
            service, "traffic", [run_v2.TrafficTarget(**target) for target in targets]
        ),
    )


def read_from(endpoint: DeployedEndpoint, uri: str) -> None:
    """Edit & deploy a new revision with another model's address, in the console."""

    def change(service: Any) -> None:
        for each in service.template.containers[0].env:
            each.value = uri if each.name == ARTIFACT_ENV else each.value

    edit_service(endpoint.service_name, change)


@pytest.mark.slow
def test_a_model_that_vertex_ai_lost_while_it_is_served_is_not_green_until_it_is_registered_again(
    cloud: LocalCloud, endpoint: DeployedEndpoint, clock: Clock
) -> None:
    run, lineage = endpoint.run, endpoint.registered_model
    assert run is not None
    assert serving() == (1, 1, 0, True)
    ServiceDailyMetrics.objects.create(
        service_name=endpoint.service_name,
        project=endpoint.project,
        day=(clock() - timedelta(days=1)).date(),
        requests=13_119,
        read_at=clock(),
    )
    vertex.delete_model(ModelName.parse(lineage.vertex_model_resource_name))
    assert look(clock) == AuditVerdict.DIFFER
    assert not Finding.objects.filter(kind=FindingKind.SERVING_UNVERIFIED).exists()  # seen once
    assert serving() == (1, 0, 0, None)
    assert look(clock) == AuditVerdict.DIFFER
    found = finding()
    assert found.title == f"{endpoint} serves chern v1, which Vertex AI does not have"
    assert (is_safe(found), "stale pointer is cleared first" in found.repair) == (False, True)
    assert "13,119 on the 1 of 7 days" in found.evidence["requests_of_7_days"]
    repair(FindingKind.STALE_POINTER, clock)
    assert (serving(), kpis.four_counts().database) == ((1, 0, 1, False), 0)
    assert look(clock) == AuditVerdict.DIFFER
    found = finding()
    assert found.repair == REGISTER_AGAIN
    cloud.effects.reset()
    assert repair(FindingKind.SERVING_UNVERIFIED, clock).status == "succeeded"
    found.refresh_from_db()
    run.refresh_from_db()
    assert (found.status, run.registration, run.version) == ("repaired", "registered", 1)
    uploads = [call.method for call in cloud.effects.mutations()]
    assert uploads == ["ModelService.UploadModel"]
    assert look(clock) == AuditVerdict.AGREE
    assert serving() == (1, 1, 0, True)


@pytest.mark.slow
def test_what_a_tag_or_a_share_reaches_is_protected_and_read_once(
    cloud: LocalCloud, endpoint: DeployedEndpoint, clock: Clock
) -> None:
    old, first, name = endpoint.run, endpoint.revision, endpoint.service_name
    assert old is not None
    new = TrainingRun.objects.get(version=2)
    finish(deploy(new, clock), clock)
    endpoint.refresh_from_db()
    assert rows() == [(endpoint.revision, 100, "", new.pk)]  # the deploy has read it
    share = {"type_": PINNED, "revision": first, "percent": 10, "tag": "canary"}
    route(name, {"type_": LATEST, "percent": 90}, share)
    cloud.effects.reset()
    for _ in range(2):
        look(clock)
        assert cloud.effects.count("Revisions.GetRevision") == 1
        assert rows() == [(endpoint.revision, 90, "", new.pk), (first, 10, "canary", old.pk)]
    assert "canary---" in EndpointTraffic.objects.get(tag="canary").url
    has = f"{first} of {name} has 10 % of the traffic and the tag canary."
    assert why_needed(old) == f"revision {has}"
    lineage = endpoint.registered_model
    blocks = preview_deletion(lineage=lineage, runs=[old]).blocks
    assert [str(each.error) for each in blocks] == [
        f"Cannot delete a deployed model. Revision {has}"
    ]
    with pytest.raises(DeployedModel, match="the tag canary"):
        delete_versions(lineage=lineage, runs=[old], actor=ANA, now=clock())
    # Cloud Run says it too, before our rows know.
    route(name, {"type_": LATEST, "percent": 100}, {**share, "percent": 0, "tag": "t"})
    EndpointTraffic.objects.filter(run=old).delete()
    [block] = preview_deletion(lineage=lineage, runs=[old]).blocks
    assert str(block.error).endswith(f"serves it as {name}: revision {first} has the tag t.")
    look(clock)
    assert rows()[1] == (first, 0, "t", old.pk)
    route(name, {"type_": LATEST, "percent": 100})
    look(clock)
    assert preview_deletion(lineage=lineage, runs=[old]).blocks == ()


@pytest.mark.slow
def test_a_service_that_reads_other_files_serves_what_these_are(
    endpoint: DeployedEndpoint, clock: Clock
) -> None:
    """Its labels stay: a version is its files (law 12)."""
    other = TrainingRun.objects.get(version=2)
    read_from(endpoint, f"{other.gcs_artifacts_path}pushed_model/1")
    look(clock)
    assert [(percent, run) for _, percent, _, run in rows()] == [(100, other.pk)]
    assert serving() == (1, 1, 0, True)
    read_from(endpoint, "gs://demo-artifacts/by-hand/model")
    assert look(clock) == AuditVerdict.DIFFER
    found = finding()
    assert found.title == f"{endpoint} serves a model, which is none of our versions"
    assert (is_safe(found), "Deploy chern v2, or undeploy the endpoint" in found.repair) == (
        False, True,
    )  # fmt: skip
    assert serving() == (1, 0, 1, False)


@pytest.mark.slow
def test_changed_files_are_a_finding_of_what_serves_them_too(
    cloud: LocalCloud, endpoint: DeployedEndpoint, clock: Clock
) -> None:
    assert endpoint.run is not None
    write_artifact(cloud, endpoint.run, "pushed_model/1/variables")
    assert look(clock) == AuditVerdict.DIFFER
    found = finding()
    assert "chern v1, which has other files than its manifest" in found.title
    assert (found.run, "restore them" in found.repair) == (None, True)


@pytest.mark.slow
def test_a_revision_or_a_plane_that_cannot_be_read_is_unknown(
    cloud: LocalCloud, endpoint: DeployedEndpoint, clock: Clock
) -> None:
    first = endpoint.revision
    finish(deploy(TrainingRun.objects.get(version=2), clock), clock)
    half = {"type_": PINNED, "revision": first, "percent": 50}
    route(endpoint.service_name, {"type_": LATEST, "percent": 50}, half)
    cloud.faults.order("Revisions.GetRevision", "error", code="PERMISSION_DENIED", times=None)
    look(clock)
    assert rows()[1][3] is None
    assert EndpointTraffic.objects.exclude(unread="").count() == 1
    assert (serving(), Finding.objects.filter(kind=KIND).count()) == ((1, 0, 0, None), 0)
    cloud.faults.clear()
    look(clock)
    assert serving() == (1, 1, 0, True)
    cloud.faults.order("Services.ListServices", "error", code="PERMISSION_DENIED", times=None)
    assert look(clock) == AuditVerdict.UNKNOWN
    assert serving() == (1, None, 0, None)
    assert (
        DailyCount.objects.get(day=clock().date(), project=endpoint.project).serving_verified
        is None
    )


@pytest.mark.slow
def test_cloud_scheduler_hides_no_difference_and_is_named(
    cloud: LocalCloud, endpoint: DeployedEndpoint, clock: Clock
) -> None:
    cloud.faults.order("CloudScheduler.ListJobs", "error", code="PERMISSION_DENIED", times=None)
    assert look(clock) == AuditVerdict.UNKNOWN
    read_from(endpoint, "gs://demo-artifacts/by-hand/model")
    assert look(clock) == AuditVerdict.DIFFER


@pytest.mark.slow
def test_a_service_whose_labels_were_removed_is_not_undeployed_until_it_is_relabeled(
    endpoint: DeployedEndpoint, clock: Clock
) -> None:
    edit_service(endpoint.service_name, lambda service: service.labels.clear())
    ended = finish(undeploy(endpoint, clock), clock)
    assert (ended.status, ended.error_code) == ("failed", "foreign_service")
    assert "the label mlp_owner is missing" in ended.error
    assert facts(endpoint)[:2] == (EndpointState.ACTIVE, True)
    assert endpoint.service_name in services()
    look(clock)
    assert [row[3] for row in rows()] == [endpoint.run_id]
    repair(FindingKind.SERVICE_LABELS_CHANGED, clock)
    assert finish(undeploy(endpoint, clock), clock).status == "succeeded"
    assert (services(), rows()) == ({}, [])
