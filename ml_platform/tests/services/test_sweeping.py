"""The sweep on the wire: what it mirrors, what it concludes, and what it must not conclude."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction

from ml_platform.kpis import vertex_reading
from ml_platform.models import (
    Finding,
    Manifest,
    MirroredArtifacts,
    MirroredModel,
    MirroredService,
    Operation,
    RegisteredModel,
    Sweep,
    TrainingRun,
)
from ml_platform.models.clock import database_now
from ml_platform.models.states import (
    FindingStatus,
    Registration,
    RegistryState,
    ScheduleState,
)
from ml_platform.services.artifacts.manifest import files_checked_at
from ml_platform.services.findings.exclusions import NEW, WORKED_ON, Reading
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.store import Actor, Subject, lineage_key, open_operation
from ml_platform.services.registry.lineages import lose_versions
from ml_platform.services.registry.registry_state import has_registry_answer, verdict_of
from ml_platform.services.repairs.pointers import clear_stale_pointers
from ml_platform.services.repairs.reconciliation import finish_operation, is_safe
from ml_platform.services.repairs.steps import STAYS_OPEN
from ml_platform.services.sweeps import audit
from ml_platform.services.sweeps.listed import PLANES
from ml_platform.services.sweeps.planes.models import compare_unclaimed_models
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.factories import (
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    version_of,
)

from .vertex_rows import BUCKET, managed, replace_model

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
ANA = Actor(label="ana", origin="command")


def look() -> Sweep:
    return sweep(actor=ANA, clock=database_now)


def open_findings() -> list[tuple[str, int]]:
    return sorted((f.kind, f.consecutive_sightings) for f in Finding.objects.open())


def test_planes_that_agree_make_no_finding(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    done = look()
    lineage.refresh_from_db()
    assert Finding.objects.count() == 0
    assert done.status == "complete"
    assert lineage.registry_state == RegistryState.VERIFIED
    assert lineage.registry_checked_at == done.started_at
    counts = {"rows": 1, "registered": 1, "vertex": 1, "gcs": 1, "cloud_run": 0, "scheduler": 0}
    counts["vertex_endpoints"] = 0
    theirs = {"vertex": 0, "cloud_run": 0, "scheduler": 0}
    assert done.counts == counts | {"theirs": theirs, "held": 0, "left_out": [], "of": {}}
    calls = {call.method: call.reason for call in cloud.effects.calls()}
    assert calls == {
        "ModelService.ListModels": f"sweep {done.pk}",
        "ModelService.ListModelVersions": f"sweep {done.pk}",
        "storage.objects.list": f"sweep {done.pk}",
        "Services.ListServices": f"sweep {done.pk}",
        "CloudScheduler.ListJobs": f"sweep {done.pk}",
        "EndpointService.ListEndpoints": f"sweep {done.pk}",
    }


def test_a_sweep_of_what_is_in_order_writes_no_row_and_is_the_time_of_the_answers(
    cloud: LocalCloud,
) -> None:
    tables = (RegisteredModel, Manifest, MirroredModel, MirroredArtifacts)

    def rows() -> list[Any]:
        return [list(table.objects.values()) for table in tables]

    def answers() -> tuple[Any, ...]:
        reading, row = vertex_reading(), RegisteredModel.objects.get()
        checked_at = TrainingRun.objects.values_list(files_checked_at(), flat=True).get()
        told = has_registry_answer("verified", "", reading.began_at)
        fresh = RegisteredModel.objects.filter(told).exists()
        return (verdict_of(row, "", None, reading.began_at).at, checked_at, fresh)

    lineage = managed(cloud)
    first = look()
    assert answers() == (first.started_at, first.started_at, True)
    before = rows()
    second = look()
    assert rows() == before
    assert answers() == (second.started_at, second.started_at, True)
    key = lineage_key(project_id=lineage.project_id, model_name=lineage.model_name)
    subject = Subject(type="registeredmodel", id="1", name="x", lineage_key=key)
    operation, _ = open_operation(
        workflow=WORKFLOWS["delete-versions"], subject=subject, actor=ANA, now=database_now()
    )
    look()
    assert answers() == (second.started_at, second.started_at, False), "it was not judged"
    Operation.objects.update(status="succeeded", finished_at=operation.created_at)
    last = look()
    assert answers() == (last.started_at, last.started_at, True)


def test_the_incident_is_found(cloud: LocalCloud) -> None:
    project = ProjectFactory.create()
    for n in range(7):
        managed(cloud, project=project, model_name=f"chern_{n}")
    version_of(RegisteredModelFactory.create(project=project, model_name="chern_rank_v1"))
    for name in ("chern_hybrid_v2", "short-test"):
        orphan = RegisteredModelFactory.create(project=project, model_name=name)
        TrainingScheduleFactory.create(registered_model=orphan, state=ScheduleState.CANCELLED)
    for number in (252311530295525376, 4998894431311495168):
        cloud.models.seed(str(number), display_name=f"trd-test-{number}")
    TrainingRun.objects.filter(model_name="chern_rank_v1").update(gcs_artifacts_path="")
    done = look()
    assert (done.counts["rows"], done.counts["registered"], done.counts["vertex"]) == (10, 8, 9)
    assert open_findings() == [
        ("orphan", 1),
        ("orphan", 1),
        ("stale_pointer", 1),
        ("unmanaged", 1),
        ("unmanaged", 1),
    ]
    stale = Finding.objects.get(kind=FindingKind.STALE_POINTER)
    assert stale.registered_model is not None
    assert stale.registered_model.model_name == "chern_rank_v1"
    assert stale.project_id == project.pk


def test_a_model_is_missing_only_at_the_second_look(cloud: LocalCloud) -> None:
    lineage = RegisteredModelFactory.create()
    version_of(lineage)
    states = []
    for _ in range(3):
        look()
        lineage.refresh_from_db()
        finding = Finding.objects.get(kind=FindingKind.STALE_POINTER)
        states.append((lineage.registry_state, finding.consecutive_sightings))
    assert states == [("suspected", 1), ("missing", 2), ("missing", 3)]
    assert TrainingRun.objects.versions().count() == 1


@pytest.mark.slow
def test_a_model_that_is_listed_again_ends_its_finding_and_is_verified(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    look()
    cloud.faults.order("ModelService.ListModels", "stale", seconds=10**9)
    look()
    lineage.refresh_from_db()
    assert lineage.registry_state == RegistryState.SUSPECTED
    look()
    lineage.refresh_from_db()
    finding = Finding.objects.get()
    assert (finding.status, lineage.registry_state) == (FindingStatus.GONE, "verified")
    assert finding.ended_at is not None


def vertex_findings() -> list[Any]:
    found = Finding.objects.exclude(kind=FindingKind.ARTIFACTS_MISSING)
    return list(found.order_by("pk").values("status", "consecutive_sightings", "last_sweep"))


@pytest.mark.slow
@pytest.mark.any_database
@pytest.mark.parametrize("code", ["UNAVAILABLE", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_page_that_cannot_be_read_concludes_nothing(
    cloud: LocalCloud, settings: Any, code: str, nth: int
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    for n in range(150):
        cloud.models.seed(str(1000 + n), display_name=f"theirs-{n}")
    known, lost = managed(cloud), RegisteredModelFactory.create()
    version_of(lost)
    look()
    before = vertex_findings()
    mirrored = MirroredModel.objects.count()
    cloud.models.seed("9999", display_name="new")
    cloud.faults.order("ModelService.ListModels", "error", code=code, nth=nth, times=None)
    partial = look()
    assert partial.status == "partial"
    assert partial.planes["vertex"]["read"] is False
    assert code in partial.planes["vertex"]["reason"]
    assert partial.counts["vertex"] is None
    assert len(before) == 151
    assert vertex_findings() == before
    assert MirroredModel.objects.count() >= mirrored
    known.refresh_from_db()
    lost.refresh_from_db()
    assert (known.registry_state, lost.registry_state) == ("verified", "suspected")


def test_a_call_that_hangs_makes_its_plane_unknown_and_the_others_are_read(
    cloud: LocalCloud, settings: Any
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "CALL_TIMEOUT": 0.3, "RETRY_TIMEOUT": 0.0}
    managed(cloud)
    cloud.faults.order("ModelService.ListModels", "hang", times=None)
    done = look()
    cloud.faults.clear()
    assert done.planes["vertex"]["code"] == "cloud_unavailable"
    assert [done.planes[name]["read"] for name in ("vertex", "gcs", "cloud_run")] == [
        False,
        True,
        True,
    ]
    assert Finding.objects.count() == 0


def test_what_a_complete_reading_does_not_show_leaves_the_mirror(cloud: LocalCloud) -> None:
    managed(cloud)
    cloud.models.seed("77", display_name="theirs")
    look()
    cloud.reset()
    cloud.storage.write(BUCKET, "runs/other.txt", b"")
    look()
    assert MirroredModel.objects.count() == 0
    assert MirroredArtifacts.objects.count() == 0


def test_rows_that_a_sweep_beside_this_one_saw_are_kept(cloud: LocalCloud) -> None:
    """The other one began earlier, and wrote what it saw while this one was reading."""
    cloud.models.seed("77", display_name="theirs")
    earlier = look()
    cloud.faults.order("ModelService.ListModels", "stale", seconds=10**9)
    MirroredModel.objects.update(seen_at=database_now() + timedelta(seconds=60))
    look()
    assert MirroredModel.objects.get().seen_sweep_id == earlier.pk
    MirroredModel.objects.update(seen_at=earlier.started_at)
    cloud.faults.order("ModelService.ListModels", "stale", seconds=10**9)
    look()
    assert not MirroredModel.objects.exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_sweeps_at_the_same_time_are_one_look_and_do_not_stop_each_other(
    cloud: LocalCloud,
) -> None:
    for n in range(250):
        cloud.models.seed(str(1000 + n), display_name=f"theirs-{n}")
    managed(cloud)
    gone = RegisteredModelFactory.create()
    version_of(gone)

    def work(_: int) -> str:
        try:
            return look().status
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        statuses = list(pool.map(work, range(3)))
    assert statuses == ["complete"] * 3
    assert MirroredModel.objects.count() == 251
    assert Finding.objects.filter(kind=FindingKind.UNMANAGED).count() == 250
    assert Finding.objects.filter(kind=FindingKind.STALE_POINTER).count() == 1
    assert Finding.objects.exclude(status=FindingStatus.OPEN).count() == 0


def test_a_look_that_overlaps_another_is_not_a_second_one(cloud: LocalCloud) -> None:
    lineage = RegisteredModelFactory.create()
    version_of(lineage)
    look()
    Finding.objects.update(last_seen_at=database_now() + timedelta(seconds=60))
    look()
    lineage.refresh_from_db()
    finding = Finding.objects.get(kind=FindingKind.STALE_POINTER)
    assert (finding.consecutive_sightings, lineage.registry_state) == (1, RegistryState.SUSPECTED)


def test_a_lineage_that_somebody_works_on_is_held(cloud: LocalCloud) -> None:
    lineage = RegisteredModelFactory.create()
    version_of(lineage)
    look()
    key = lineage_key(project_id=lineage.project_id, model_name=lineage.model_name)
    subject = Subject(type="registeredmodel", id="1", name="x", lineage_key=key)
    open_operation(
        workflow=WORKFLOWS["delete-versions"], subject=subject, actor=ANA, now=database_now()
    )
    done = look()
    lineage.refresh_from_db()
    finding = Finding.objects.get(kind=FindingKind.STALE_POINTER)
    assert (finding.status, finding.consecutive_sightings) == (FindingStatus.OPEN, 1)
    assert lineage.registry_state == "suspected"
    assert done.counts["left_out"] == [{"what": lineage.model_name, "why": WORKED_ON}]
    assert done.counts["of"].keys() == {str(lineage.project_id)}


def test_a_model_made_after_the_sweep_began_is_no_finding(cloud: LocalCloud) -> None:
    cloud.clock.advance(60)
    cloud.models.seed("77", display_name="new")
    assert look().counts["left_out"] == [{"what": "new", "why": NEW}]
    assert Finding.objects.count() == 0


def test_an_ignored_finding_stays_ignored_while_it_is_seen(cloud: LocalCloud) -> None:
    cloud.models.seed("77", display_name="theirs")
    look()
    Finding.objects.update(status=FindingStatus.IGNORED)
    look()
    finding = Finding.objects.get()
    assert (finding.status, finding.consecutive_sightings) == (FindingStatus.IGNORED, 2)


@pytest.mark.slow
def test_a_pointer_is_the_name_and_the_label(cloud: LocalCloud) -> None:
    """Somebody made a model anew under our id: it is there, and it is not ours (law 7)."""
    lineage = managed(cloud)
    look()
    replace_model(cloud, lineage, run_uid="0" * 32)
    look()
    finding = Finding.objects.open().get(registered_model=lineage)
    assert finding.kind == FindingKind.STALE_POINTER
    assert "created after ours" in finding.title


@pytest.mark.slow
def test_a_default_version_that_is_not_ours_is_a_mismatch(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    other = managed(cloud, model_name="other", project=lineage.project)
    RegisteredModel.objects.update(latest_registered_at=database_now())
    assert other.latest_run is not None
    replace_model(cloud, lineage, run_uid=other.latest_run.uid.hex)
    look()
    lineage.refresh_from_db()
    finding = Finding.objects.get()
    assert finding.kind == FindingKind.VERSION_MISMATCH
    assert finding.title.endswith("labeled as a run of other")
    assert finding.evidence["vertex_label_mlp_run"] == other.latest_run.uid.hex
    assert lineage.registry_state == RegistryState.SUSPECTED
    assert is_safe(finding), "it was created after ours was registered, so ours is lost"
    TrainingRun.objects.update(registered_at=database_now())
    look()
    finding.refresh_from_db()
    assert not is_safe(finding), "our pointers are not wrong, so there is nothing to correct"
    assert "No automatic repair" in finding.repair
    opened = clear_stale_pointers(registered_model=lineage, actor=ANA, now=database_now())
    operation = finish_operation(operation=opened, clock=database_now)
    finding.refresh_from_db()
    assert operation.steps[-1]["note"].startswith(f"{STAYS_OPEN} Still open: {finding.title}.")
    assert finding.status == FindingStatus.OPEN


def test_a_label_of_another_tenants_run_is_not_told(cloud: LocalCloud) -> None:
    lineage, theirs = managed(cloud), managed(cloud, model_name="theirs")
    RegisteredModel.objects.update(latest_registered_at=database_now())
    assert theirs.latest_run is not None
    replace_model(cloud, lineage, run_uid=theirs.latest_run.uid.hex)
    look()
    finding = Finding.objects.get()
    assert finding.title.endswith("labeled as a run of another project")
    assert theirs.latest_run.uid.hex not in str(finding.evidence)


def test_a_version_without_its_files_is_found(cloud: LocalCloud) -> None:
    lineage = managed(cloud, artifacts=False)
    run = lineage.latest_run
    assert run is not None
    near = f"{run.gcs_artifacts_path.removeprefix(f'gs://{BUCKET}/').rstrip('/')}0/"
    cloud.storage.write(BUCKET, f"{near}pushed_model/1/saved_model.pb", b"of another run")
    look()
    finding = Finding.objects.get()
    assert (finding.kind, finding.run) == (FindingKind.ARTIFACTS_MISSING, run)


def test_an_unreadable_bucket_proves_nothing_about_artifacts(
    cloud: LocalCloud, settings: Any
) -> None:
    managed(cloud, artifacts=False)
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "BUCKET": "no-such-bucket"}
    done = look()
    assert done.planes["gcs"]["code"] == "parent_not_found"
    assert Finding.objects.count() == 0


def test_a_pointer_into_another_location_is_not_judged(cloud: LocalCloud) -> None:
    lineage = RegisteredModelFactory.create()
    run = version_of(lineage)
    elsewhere = run.vertex_model_resource_name.replace("europe-central2", "us-east1")
    TrainingRun.objects.update(vertex_model_resource_name=elsewhere)
    RegisteredModel.objects.update(vertex_model_resource_name=elsewhere)
    look()
    assert Finding.objects.filter(kind=FindingKind.STALE_POINTER).count() == 0


def test_a_pointer_may_name_the_project_by_its_id(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    name = lineage.vertex_model_resource_name.replace("123456789012", "demo-project")
    TrainingRun.objects.update(vertex_model_resource_name=name)
    RegisteredModel.objects.update(vertex_model_resource_name=name)
    done = look()
    assert Finding.objects.count() == 0
    assert [row.lineage for row in audit.vertex_rows(done)] == [lineage.model_name]


@pytest.mark.parametrize("listed", ["demo-project", "123456789012"])
def test_ids_and_numbers_of_the_project_may_stand_side_by_side(
    cloud: LocalCloud, listed: str
) -> None:
    """Rows with the number of the project, answers with its id: no model is unmanaged for that."""
    names = [managed(cloud).model_name for _ in range(3)]
    done = look()
    for row in MirroredModel.objects.all():
        row.resource_name = row.resource_name.replace("123456789012", listed)
        row.save()
    reading = Reading(
        sweep=done,
        now=database_now(),
        unstored=dict.fromkeys(PLANES, ()),
        heartbeat=lambda: None,
    )
    found = [each for one in compare_unclaimed_models(reading) for each in one.found]
    assert found == []
    assert sorted(row.lineage for row in audit.vertex_rows(done)) == sorted(names)


def test_a_lost_version_that_is_back_can_be_restored(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    with transaction.atomic():
        lose_versions(lineage=lineage)
    look()
    finding = Finding.objects.get()
    assert finding.kind == FindingKind.VERSION_MISMATCH
    assert finding.title.endswith("v1, recorded as lost, is back")
    assert finding.run is not None
    assert finding.run.registration == Registration.LOST


@pytest.mark.parametrize(
    "keep",
    [
        lambda m: TrainingScheduleFactory.create(registered_model=m, state=ScheduleState.PAUSED),
        lambda m: TrainingRunFactory.create(project=m.project, model_name=m.model_name),
        lambda m: RegisteredModel.objects.filter(pk=m.pk).update(created_at=database_now()),
    ],
    ids=["a paused schedule", "a run that may finish", "young"],
)
def test_what_somebody_needs_is_no_orphan(cloud: LocalCloud, keep: Any) -> None:
    keep(RegisteredModelFactory.create())
    look()
    assert Finding.objects.count() == 0


def test_cloud_run_services_are_mirrored(cloud: LocalCloud) -> None:
    from ml_platform.cloud import cloud_run
    from ml_platform.cloud.types import ServiceSpec

    spec = ServiceSpec(image="image", labels={"mlp_owner": "tests", "mlp_run": "a" * 32})
    cloud_run.create_service("serves", spec)
    done = look()
    row = MirroredService.objects.get()
    assert (row.service_name, row.owner, row.run_uid) == ("serves", "tests", "a" * 32)
    assert done.counts["cloud_run"] == 1
