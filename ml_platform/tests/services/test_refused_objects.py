"""What may not be deleted is named and passed by: all the others go (law 14)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ml_platform import jobs
from ml_platform.models import Operation, TrainingRun
from ml_platform.models.states import OperationStatus
from ml_platform.services.artifacts import folders
from ml_platform.services.cleanup import strays
from ml_platform.services.cleanup.artifacts import clean_up_artifacts
from ml_platform.services.cleanup.state import ArtifactCleanup, artifact_cleanup_of
from ml_platform.tests.factories import LONG_AGO, TrainingRunFactory

from .installations import MARKER
from .people import hold
from .world import ANA, BUCKET, Clock, settle, write_artifact
from .world import artifacts as objects_of

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
HELD = "is under active Temporary hold and cannot be deleted"


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    """Eight days after everything in Cloud Storage was written."""
    return Clock(now=cloud.clock.now() + timedelta(days=8))


def clean(clock: Clock, **options: Any) -> ArtifactCleanup:
    return clean_up_artifacts(**{"days": 7, "actor": ANA, "clock": clock, **options})


def failed_runs(cloud: LocalCloud, *sizes: int) -> list[TrainingRun]:
    runs = [TrainingRunFactory.create(failed=True, finished_at=LONG_AGO) for _ in sizes]
    for run, size in zip(runs, sizes, strict=True):
        for number in range(size):
            write_artifact(cloud, run, f"part-{number:03}")
    return runs


def held(cloud: LocalCloud, run: TrainingRun, **options: Any) -> list[str]:
    names = objects_of(cloud, run)
    hold(cloud, *names, **options)
    return names


def left(cloud: LocalCloud, *runs: TrainingRun) -> list[int]:
    return [len(objects_of(cloud, run)) for run in runs]


@pytest.mark.parametrize("way", ["temporary_hold", "event_based_hold", "denied"])
def test_one_object_that_may_not_be_deleted_keeps_none_of_the_other_runs(
    cloud: LocalCloud, clock: Clock, way: str
):
    runs = failed_runs(cloud, 1, 1, 1, 1)
    path, lines = runs[1].gcs_artifacts_path, list[str]()
    if way == "denied":
        cloud.faults.order("storage.objects.delete", code="PERMISSION_DENIED", nth=2)
    else:
        held(cloud, runs[1], kind=way)
    result = clean(clock, write_line=lines.append)
    assert left(cloud, *runs) == [0, 1, 0, 0]
    assert (result.runs, result.kept, result.freed[0]) == (3, 1, 3)
    assert result.operation
    assert result.operation.status == OperationStatus.SUCCEEDED
    assert "; 1 object may not be deleted" in result.summary
    (kept,) = (line for line in lines if line.startswith("Kept"))
    assert kept.startswith(f"Kept {path} of {runs[1]}: 1 object may not be deleted, the first one ")
    assert objects_of(cloud, runs[1])[0] in kept
    runs[1].refresh_from_db()
    assert runs[1].gcs_artifacts_path == path


def test_a_released_object_goes_with_the_next_cleanup(cloud: LocalCloud, clock: Clock):
    (run,) = failed_runs(cloud, 1)
    names = held(cloud, run)
    assert (clean(clock).kept, left(cloud, run)) == (1, [1])
    hold(cloud, *names, on=False)
    result = clean(clock)
    assert (result.runs, result.kept, result.refusals, left(cloud, run)) == (1, 0, "", [0])


def test_a_job_that_had_to_leave_something_says_that_it_did_a_part(cloud: LocalCloud, clock: Clock):
    (run,) = failed_runs(cloud, 1)
    held(cloud, run)
    report = jobs.run_job("cleanup-gcs-artifacts", actor=ANA, clock=clock, days=7)
    assert (report.status, report.unknown) == ("partial", ("1 object may not be deleted",))


@pytest.mark.slow
def test_more_held_objects_than_a_chunk_keep_nothing_that_lies_behind_them(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(folders, "CHUNK", 3)
    runs = failed_runs(cloud, 20, 2)
    names = objects_of(cloud, runs[0])
    hold(cloud, *names[:8], *names[10:12])
    result = clean(clock)
    assert objects_of(cloud, runs[0]) == [*names[:8], *names[10:12]]
    assert left(cloud, runs[1]) == [0]
    assert (result.freed[0], result.refusals) == (12, "10 objects may not be deleted")


def test_a_worker_that_died_beside_a_held_object_counts_it_once(cloud: LocalCloud, clock: Clock):
    runs = failed_runs(cloud, 2, 1)
    hold(cloud, objects_of(cloud, runs[0])[0])
    cloud.faults.order("storage.objects.list", code="UNAVAILABLE", nth=3, times=2)
    clean(clock)
    settle(clock)
    assert left(cloud, *runs) == [1, 0]
    assert artifact_cleanup_of(Operation.objects.get()).refusals == "1 object may not be deleted"


def test_a_stray_that_is_gone_over_again_counts_once(cloud: LocalCloud, clock: Clock):
    for name in ("runs/a/x", "runs/b/x"):
        cloud.storage.write(BUCKET, name, b"x")
    hold(cloud, "runs/a/x")
    cloud.faults.order("storage.objects.delete", code="UNAVAILABLE", nth=2)
    clean(clock, delete_strays=True)
    settle(clock)
    assert cloud.storage.names(BUCKET) == [MARKER, "runs/a/x"]
    assert artifact_cleanup_of(Operation.objects.get()).refusals == "1 object may not be deleted"


def test_a_held_stray_is_passed_by(cloud: LocalCloud, clock: Clock):
    for name in ("runs/a/x", "runs/b/x", "runs/c/x"):
        cloud.storage.write(BUCKET, name, b"x")
    hold(cloud, "runs/b/x")
    lines: list[str] = []
    result = clean(clock, delete_strays=True, write_line=lines.append)
    assert cloud.storage.names(BUCKET) == [MARKER, "runs/b/x"]
    assert (result.strays_found, result.strays_deleted) == (3, 2)
    assert any(line.startswith(f"Kept gs://{BUCKET}/runs/b/: ") and HELD in line for line in lines)
    assert result.operation
    assert result.operation.steps[-1]["note"] == "2 strays deleted; 1 object may not be deleted."


ODD = {
    "tab": "runs/tab\there/x",
    "line": "runs/new\r\nline/x",
    "nul": "runs/nul\0nul/x",
    "escape": "runs/\x1b[31mred\x7f/x",
    "unicode": "runs/zażółć \u202e 模型/x",
    "percent": "runs/100%25 a%2Fb/x",
    "dots": "runs/../x",
    "dot": "runs/./x",
    "query": "runs/a?b#c&d=e/x",
    "glob": "runs/[a]*{b}/x",
    "long": f"runs/{'n' * 1000}/x",
    "digits": f"runs/{'9' * 400}/x",
    "no folder": "runs/loose\tfile",
    "twice": "runs/a-twice//x",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_stray_of_any_name_goes_as_the_others_do(cloud: LocalCloud, clock: Clock, odd: str):
    for name in ("runs/0-stray/x", odd, "runs/zz-stray/x"):
        cloud.storage.write(BUCKET, name, b"x")
    kept = ["elsewhere/x", "runs10/x"]
    for name in kept:
        cloud.storage.write(BUCKET, name, b"x")
    lines: list[str] = []
    result = clean(clock, delete_strays=True, write_line=lines.append)
    assert result.operation
    assert result.operation.status == OperationStatus.SUCCEEDED, result.operation.error
    assert cloud.storage.names(BUCKET) == sorted([MARKER, *kept])
    assert (result.strays_found, result.strays_deleted) == (3, 3)
    assert all(line.isprintable() for line in lines)


def test_what_lies_between_two_slashes_lies_in_no_folder_and_stays(cloud: LocalCloud, clock: Clock):
    for name in ("runs//x", "runs/a-stray/x"):
        cloud.storage.write(BUCKET, name, b"x")
    assert clean(clock, delete_strays=True).strays_deleted == 1
    assert cloud.storage.names(BUCKET) == [MARKER, "runs//x"]


def test_nothing_but_what_lies_directly_below_the_root_is_taken_for_a_stray() -> None:
    for wrong in (f"gs://{BUCKET}/runs/", f"gs://{BUCKET}/runs//", f"gs://{BUCKET}/runs10/a/"):
        with pytest.raises(folders.UnsafePath):
            strays._place_of(wrong)
