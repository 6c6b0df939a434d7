"""The brake: a plane that suddenly lacks much of what it had is one alarm, and nothing follows from
it until a person confirms."""

from __future__ import annotations

from collections import Counter
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.db import transaction

from ml_platform import kpis
from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.models import (
    DeployedEndpoint,
    Event,
    Finding,
    MirroredArtifacts,
    MirroredJob,
    MirroredModel,
    MirroredService,
    RegisteredModel,
    Sweep,
    TrainingRun,
)
from ml_platform.models.states import EventKind, FindingStatus, Registration
from ml_platform.services.deletion.preview import preview_deletion
from ml_platform.services.findings.decisions import confirm_plane
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.mirror import brake
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.ownership.labels import owner
from ml_platform.services.registry.lineages import lose_versions
from ml_platform.services.removal.guard import why_needed
from ml_platform.services.repairs.pointers import clear_stale_pointers
from ml_platform.services.repairs.reconciliation import NoRepair, repair_finding
from ml_platform.services.sweeps import audit, shrinking
from ml_platform.services.sweeps.audit import AuditVerdict
from ml_platform.services.sweeps.listed import PLANES
from ml_platform.services.sweeps.shrinking import FLOOR, has_shrunk
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import (
    LONG_AGO,
    DeployedEndpointFactory,
    RegisteredModelFactory,
    version_of,
)

from .deploy_tools import A_WHILE, deploy, finish, remove_artifacts
from .world import ANA, BUCKET, Clock, a_lineage, a_run, artifacts

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock()


def look(clock: Clock) -> Sweep:
    clock.forward(60)
    return sweep(actor=ANA, clock=clock)


def open_kinds() -> Counter[str]:
    return Counter(Finding.objects.open().values_list("kind", flat=True))


def delete(run: TrainingRun) -> None:
    vertex.delete_model(ModelName.parse(run.vertex_model_resource_name))


def models(cloud: LocalCloud, clock: Clock, number: int) -> list[TrainingRun]:
    runs = [a_lineage(cloud, clock, name=f"m{n}")[1][0] for n in range(number)]
    clock.forward(A_WHILE)
    done = look(clock)
    assert done.status == "complete"
    assert not open_kinds()
    return runs


def test_each_plane_that_a_sweep_reads_can_shrink():
    assert set(shrinking.MISSED) == set(brake.PLANES) == set(PLANES)


@pytest.mark.parametrize(
    ("had", "lacks", "alarm"),
    [
        (0, 0, False), (3, 3, False), (4, 4, True), (5, FLOOR, False), (8, 4, True),
        (39, 4, True), (40, 4, False), (40, 5, True), (1000, 100, False), (1000, 101, True),
    ],
)  # fmt: skip
def test_more_than_a_tenth_and_more_than_a_few_is_an_alarm(had: int, lacks: int, alarm: bool):
    assert has_shrunk(had=had, lacks=lacks) is alarm


@pytest.mark.slow
def test_a_plane_that_shrank_is_one_alarm(cloud: LocalCloud, clock: Clock) -> None:
    runs = models(cloud, clock, 8)
    for run in runs[:5]:
        delete(run)
    done = look(clock)
    assert open_kinds() == {"plane_shrunk": 1}
    alarm = Finding.objects.get()
    assert alarm.title == "Vertex AI lacks 5 of 8 models that it had"
    assert (alarm.evidence["lacks"], len(alarm.evidence["named"])) == (5, 5)
    assert Event.objects.filter(kind=EventKind.FINDING_OPENED).count() == 1
    assert done.planes["vertex"]["code"] == "plane_shrunk"
    assert audit.compare_sweep(done) == AuditVerdict.DIFFER
    counts = kpis.four_counts()
    assert (counts.database, counts.vertex, counts.vertex_last) == (8, None, 8)
    assert "8" not in counts.vertex_reason  # all tenants read it
    assert MirroredModel.objects.count() == 8
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile_registry", "--yes", stdout=out)
    assert ended.value.code == 1
    assert "Plane shrunk: Vertex AI lacks 5 of 8 models that it had" in out.getvalue()
    assert "0 findings to repair." in out.getvalue()
    assert open_kinds() == {"plane_shrunk": 1}


@pytest.mark.slow
def test_nothing_follows_from_an_alarm_until_a_person_confirms_it(
    cloud: LocalCloud, clock: Clock
) -> None:
    runs = models(cloud, clock, 8)
    for run in runs[:5]:
        delete(run)
    look(clock)
    waits = deploy(runs[0], clock)
    lineage = RegisteredModel.objects.get(training_runs=runs[1])
    clearing = clear_stale_pointers(registered_model=lineage, actor=ANA, now=clock())
    look(clock)
    resume_operations(clock=clock)
    waits.refresh_from_db()
    clearing.refresh_from_db()
    assert (waits.status, waits.error_code) == ("running", "plane_shrunk")
    assert (clearing.status, clearing.error_code) == ("failed", "plane_shrunk")
    assert RegisteredModel.objects.registered().count() == 8
    assert not TrainingRun.objects.filter(registration=Registration.LOST).exists()
    alarm = Finding.objects.get()
    assert alarm.consecutive_sightings == 2

    confirm_plane(finding=alarm, actor=ANA, now=clock())
    assert finish(waits, clock).error_code == "model_not_found"
    look(clock)
    assert open_kinds() == {"stale_pointer": 4}  # the deploy has told the fifth
    alarm.refresh_from_db()
    assert (alarm.status, alarm.ended_at is not None) == ("repaired", True)
    look(clock)
    assert open_kinds() == {"stale_pointer": 4}


@pytest.mark.slow
def test_files_that_come_back_end_the_alarm_and_what_they_prove_is_unknown_until_then(
    cloud: LocalCloud, clock: Clock
) -> None:
    runs = models(cloud, clock, 6)
    files = {run: artifacts(cloud, run) for run in runs[:4]}
    for run in files:
        remove_artifacts(cloud, run)
    look(clock)
    assert open_kinds() == {"plane_shrunk": 1}
    waits = deploy(runs[0], clock)
    resume_operations(clock=clock)
    waits.refresh_from_db()
    assert (waits.status, waits.error_code) == ("running", "plane_shrunk")
    for names in files.values():
        for name in names:
            cloud.storage.write(BUCKET, name, b"model")
    look(clock)
    assert not open_kinds()
    assert Finding.objects.get().status == FindingStatus.GONE
    assert finish(waits, clock).status == "succeeded"


@pytest.mark.slow
def test_each_plane_has_its_own_alarm_and_a_confirmation_is_of_one_plane_and_of_what_was_seen(
    cloud: LocalCloud, clock: Clock, settings: Any
) -> None:
    before = Sweep.objects.create(actor_label="ana", planes={}, status="complete")
    old = a_run(cloud, name="old")
    mirror(before, 5)
    done = look(clock)
    assert open_kinds() == {"plane_shrunk": 4}
    assert done.counts["cloud_run"] is None
    alarms = {finding.subject: finding for finding in Finding.objects.open()}
    lacks = {plane: alarm.evidence["lacks"] for plane, alarm in alarms.items()}
    assert lacks == {"vertex": 5, "gcs": 5, "cloud_run": 5, "scheduler": 5}

    # No file is deleted on that evidence, and no version either.
    assert "what uses it is unknown: Vertex AI suddenly" in why_needed(old)
    run = TrainingRun.objects.versions()[0]
    lineage = RegisteredModel.objects.get(training_runs=run)
    plan = preview_deletion(lineage=lineage, runs=[run])
    assert plan.unknown[0].startswith("Cloud Run: Cloud Run suddenly lacks")

    confirm_plane(finding=alarms["cloud_run"], actor=ANA, now=clock())
    done = look(clock)
    assert open_kinds() == {"plane_shrunk": 3, "service_missing": 5}
    missing = Finding.objects.filter(kind=FindingKind.SERVICE_MISSING)[0]
    operation = repair_finding(finding=missing, actor=ANA, now=clock())
    assert finish(operation, clock).status == "succeeded"

    # A finding from before the alarm is not repaired; a person confirms what they saw, not more.
    stale = Finding.objects.create(
        kind=FindingKind.STALE_POINTER, subject=run.vertex_model_resource_name, title="It is gone",
        registered_model=lineage, first_seen_at=clock(), last_seen_at=clock(),
    )  # fmt: skip
    with pytest.raises(NoRepair) as refused:
        repair_finding(finding=stale, actor=ANA, now=clock())
    assert refused.value.code == "plane_shrunk"
    call_command("confirm_plane", "vertex", "--yes")
    mirror(before, 9, first=5)
    look(clock)
    assert Finding.objects.open().get(subject="vertex").evidence["lacks"] == 9


def mirror(sweep: Sweep, upto: int, first: int = 0) -> None:
    """Rows of ours and mirror rows of things that Google does not list."""
    common = {"seen_sweep": sweep, "seen_at": LONG_AGO}
    for n in range(first, upto):
        run = version_of(RegisteredModelFactory.create())
        endpoint = DeployedEndpointFactory.create(
            serving=True, registered_model=run.registered_model, run=run
        )
        name = run.vertex_model_resource_name
        MirroredModel.objects.create(
            model_id=name.rpartition("/")[2],
            resource_name=name,
            display_name=f"m{n}",
            version="1",
            owner=owner(),
            **common,
        )
        MirroredArtifacts.objects.create(prefix=run.gcs_artifacts_path, folders={}, **common)
        MirroredService.objects.create(service_name=endpoint.service_name, owner=owner(), **common)
        MirroredJob.objects.create(
            job_id=f"j{n}", resource_name=f"j{n}", state="enabled", theirs=True, **common
        )  # fmt: skip


def test_what_we_deleted_ourselves_is_no_alarm(cloud: LocalCloud, clock: Clock) -> None:
    before = Sweep.objects.create(actor_label="ana", planes={}, status="complete")
    a_run(cloud, name="old")
    mirror(before, 6)
    DeployedEndpoint.objects.update(is_active=False, state="inactive", url="", revision="")
    for lineage in RegisteredModel.objects.all():
        with transaction.atomic():
            lose_versions(lineage=lineage)
    MirroredJob.objects.update(theirs=False)
    done = look(clock)
    assert done.status == "complete"
    assert not open_kinds()
