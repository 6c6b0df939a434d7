"""Old artifacts: those of no version go, all others stay, whatever dies in between (law 8)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pytest

from ml_platform.models import Operation, TrainingRun
from ml_platform.models.states import OperationStatus, Registration, RunStatus
from ml_platform.services.cleanup import artifacts as artifact_cleanup
from ml_platform.services.cleanup.artifacts import clean_up_artifacts
from ml_platform.services.cleanup.state import ArtifactCleanup, artifact_cleanup_of
from ml_platform.services.operations import worker
from ml_platform.services.registration.register import NotRegistrable, register_run
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
)

from .installations import MARKER
from .world import ANA, BUCKET, Clock, a_lineage, artifacts, settle, write_artifact

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

Kind: TypeAlias = Literal["error", "lost"]

pytestmark = pytest.mark.django_db
KINDS: tuple[Kind, ...] = ("error", "lost")
OBJECT = "pushed_model/1/saved_model.pb"


@pytest.fixture
def clock() -> Clock:
    return Clock()


def old_run(cloud: LocalCloud, **fields: Any) -> TrainingRun:
    """A run that failed a month ago and left something."""
    run: TrainingRun = TrainingRunFactory.create(**({"failed": True} | fields))
    write_artifact(cloud, run, OBJECT)
    return run


def clean(clock: Clock, **options: Any) -> ArtifactCleanup:
    return clean_up_artifacts(**{"days": 7, "actor": ANA, "clock": clock, **options})


def left(cloud: LocalCloud, run: TrainingRun) -> int:
    return len(artifacts(cloud, run))


def test_old_runs_that_are_no_version_lose_their_artifacts(cloud: LocalCloud, clock: Clock):
    lines: list[str] = []
    runs = [old_run(cloud), old_run(cloud, status=RunStatus.CANCELLED, failed=False)]
    for number in range(3):
        write_artifact(cloud, runs[0], f"transform/part-{number}")
    result = clean(clock, write_line=lines.append)
    assert [left(cloud, run) for run in runs] == [0, 0]
    assert (result.runs, result.kept, result.freed[0]) == (2, 0, 5)
    assert result.summary.startswith(
        "Deleted the artifacts of 2 run(s) older than 7 days: 5 objects, 25 bytes; kept those of 0"
    )
    assert len(lines) == 2
    assert result.operation is not None
    assert result.operation.status == OperationStatus.SUCCEEDED
    assert set(TrainingRun.objects.values_list("gcs_artifacts_path", flat=True)) == {""}


def test_whatever_somebody_needs_stays(cloud: LocalCloud, clock: Clock):
    lineage, (version,) = a_lineage(cloud, clock, name="kept")
    running = old_run(cloud, failed=False, status=RunStatus.RUNNING)
    young = old_run(cloud, created_at=clock() - timedelta(days=6))
    late = old_run(cloud, finished_at=clock() - timedelta(days=1))
    served = old_run(cloud)
    DeployedEndpointFactory.create(registered_model=lineage, run=served, serving=True)
    before = DeployedEndpointFactory.create(registered_model=lineage, run=version, serving=True)
    rollback = old_run(cloud)
    before.previous_run = rollback
    before.save()
    lost = old_run(
        cloud,
        registration=Registration.LOST,
        registered_model=lineage,
        version=9,
        last_vertex_version="projects/demo-project/locations/europe-central2/models/x@1",
    )
    asked = old_run(cloud, failed=False, completed=True)
    Operation.objects.create(
        kind="register", status="running", subject_type="trainingrun", subject_id=str(asked.pk)
    )
    foreign = old_run(cloud)
    TrainingRun.objects.filter(pk=foreign.pk).update(gcs_artifacts_path="gs://other/runs/1/")
    result = clean(clock)
    for run in (version, running, young, late, served, rollback, lost, asked, foreign):
        assert left(cloud, run) == 1, run.pk
    assert (result.runs, result.kept) == (0, 1)  # the foreign path; the others were not looked at
    assert TrainingRun.objects.get(pk=foreign.pk).gcs_artifacts_path == "gs://other/runs/1/"
    assert cloud.effects.count("storage.objects.delete") == 0


def test_the_folder_of_run_1_is_not_that_of_run_10(cloud: LocalCloud, clock: Clock):
    gone = old_run(cloud)
    TrainingRun.objects.filter(pk=gone.pk).update(
        gcs_artifacts_path=f"gs://{BUCKET}/runs/{gone.pk}/"
    )
    cloud.storage.write(BUCKET, f"runs/{gone.pk}/a", b"x")
    cloud.storage.write(BUCKET, f"runs/{gone.pk}0/a", b"x")
    clean(clock)
    assert cloud.storage.names(BUCKET, f"runs/{gone.pk}/") == []
    assert cloud.storage.names(BUCKET, f"runs/{gone.pk}0/") == [f"runs/{gone.pk}0/a"]


def test_a_rehearsal_reads_and_changes_nothing(cloud: LocalCloud, clock: Clock):
    run = old_run(cloud)
    cloud.storage.write(BUCKET, "runs/somebody/a", b"x")
    lines: list[str] = []
    result = clean(clock, dry_run=True, write_line=lines.append)
    assert (result.runs, result.freed[0], result.operation) == (1, 1, None)
    assert lines == [
        f"Would delete {run.gcs_artifacts_path} of {run}: 1 object, 5 bytes.",
        f"gs://{BUCKET}/runs/somebody/ belongs to no run.",
    ]
    assert left(cloud, run) == 1
    assert Operation.objects.count() == 0
    assert cloud.effects.mutations("storage.*") == []


def test_a_lost_version_goes_only_when_asked_and_vertex_says_again_that_it_is_gone(
    cloud: LocalCloud, clock: Clock
):
    runs = [
        old_run(
            cloud,
            registration=Registration.LOST,
            last_vertex_version=f"projects/demo-project/locations/europe-central2/models/{name}@1",
        )
        for name in ("there", "gone")
    ]
    cloud.models.seed("there", display_name="there")
    cloud.faults.order("ModelService.GetModel", "error", code="PERMISSION_DENIED", times=2)
    result = clean(clock, include_registered=True)
    assert (result.runs, result.kept) == (0, 2)  # unknown is not gone
    result = clean(clock, include_registered=True)
    assert (result.runs, result.kept) == (1, 1)
    assert [left(cloud, run) for run in runs] == [1, 0]


def test_what_was_begun_before_the_mark_is_spared_at_the_second_look(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    """A registration that read its path before the mark has its operation by the second look."""
    run = old_run(cloud, failed=False, completed=True)
    mark = artifact_cleanup._mark_batch

    def marked(work: Any, batch: Any) -> None:
        mark(work, batch)
        Operation.objects.create(
            kind="register", status="running", subject_type="trainingrun", subject_id=str(run.pk)
        )

    monkeypatch.setattr(artifact_cleanup, "_mark_batch", marked)
    result = clean(clock)
    assert (result.runs, result.kept, left(cloud, run)) == (0, 1, 1)
    run.refresh_from_db()
    assert run.gcs_artifacts_path.endswith(f"{run.uid.hex}/")


def test_a_marked_run_cannot_be_registered(cloud: LocalCloud, clock: Clock):
    run = old_run(cloud, failed=False, completed=True)
    cloud.faults.order("storage.objects.delete", "error", code="UNAVAILABLE")
    clean(clock)
    run.refresh_from_db()
    assert run.gcs_artifacts_path == ""
    with pytest.raises(NotRegistrable, match="deleted by a cleanup"):
        register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    assert cloud.storage.names(BUCKET) == [MARKER]
    assert cloud.effects.count("ModelService.UploadModel") == 0


@pytest.mark.any_database
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["storage.objects.list", "storage.objects.delete"])
def test_a_call_that_fails_is_gone_over_again(
    cloud: LocalCloud, clock: Clock, settings: Any, method: str, kind: Kind
):
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0}
    runs = [old_run(cloud) for _ in range(3)]
    cloud.faults.order(method, kind, code="UNAVAILABLE", nth=2)
    clean(clock)
    settle(clock)
    assert [left(cloud, run) for run in runs] == [0, 0, 0]
    operation = Operation.objects.get()
    assert operation.status == OperationStatus.SUCCEEDED
    assert artifact_cleanup_of(operation).runs == 3


@pytest.mark.slow
def test_a_cleanup_that_fails_for_good_gives_back_what_it_marked(cloud: LocalCloud, clock: Clock):
    runs = [old_run(cloud) for _ in range(2)]
    cloud.faults.order("storage.objects.delete", "error", code="UNAVAILABLE", times=None)
    clean(clock)
    for _ in range(26):  # hours: two more than its patience
        clock.forward(3600)
        worker.resume_operations(clock=clock)
    assert Operation.objects.get().status == OperationStatus.FAILED
    assert "" not in TrainingRun.objects.values_list("gcs_artifacts_path", flat=True)
    cloud.faults.clear()
    clean(clock)
    assert [left(cloud, run) for run in runs] == [0, 0]


def test_a_worker_goes_on_where_another_died(cloud: LocalCloud, clock: Clock):
    runs = [old_run(cloud) for _ in range(3)]
    cloud.faults.order("storage.objects.delete", "error", code="UNAVAILABLE", nth=2)
    clean(clock)
    assert Operation.objects.get().status == OperationStatus.RUNNING
    clock.forward(600)
    worker.resume_operations(clock=clock)
    assert Operation.objects.get().status == OperationStatus.SUCCEEDED
    assert [left(cloud, run) for run in runs] == [0, 0, 0]


def test_more_runs_than_a_batch_are_all_cleaned(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(artifact_cleanup, "BATCH", 2)
    RegisteredModelFactory.create()
    runs = [old_run(cloud) for _ in range(5)]
    assert clean(clock).runs == 5
    assert [left(cloud, run) for run in runs] == [0] * 5
