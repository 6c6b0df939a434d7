"""Orphans and files turn out to be needed before a cleanup deletes them."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta

from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.services.cleanup.artifacts import ARTIFACTS
from ml_platform.services.cleanup.orphans import clean_up_orphan
from ml_platform.services.operations.store import Subject, open_operation
from ml_platform.services.operations.subjects import subject_of_lineage, subject_of_run
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.factories import (
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    version_of,
)
from ml_platform.tests.services.world import ANA, BUCKET, artifacts, write_artifact

from .harness import World, before, ended

Played = Generator[Operation | None, None, None]

# ---- orphans -----------------------------------------------------------------------------------


def _orphan(w: World) -> tuple[RegisteredModel, Operation]:
    orphan = RegisteredModelFactory.create()
    return orphan, clean_up_orphan(registered_model=orphan, actor=ANA, now=w.clock())


def _stays(orphan: RegisteredModel, operation: Operation) -> None:
    ended(operation, "failed", "not_an_orphan")
    assert RegisteredModel.objects.filter(pk=orphan.pk).exists()


@before("delete_orphan")
def an_orphan_that_a_waiting_operation_needs_stays(w: World) -> Played:
    orphan, operation = _orphan(w)
    run = TrainingRunFactory.create(
        failed=True, project=orphan.project, model_name=orphan.model_name
    )
    yield operation
    w.clock.forward(1)
    waiting, _ = open_operation(
        workflow=WORKFLOWS["register-run"], subject=subject_of_run(run), actor=ANA,
        now=w.clock(), queue=True,
    )  # fmt: skip
    yield None
    _stays(orphan, operation)
    assert waiting.lineage_key == subject_of_lineage(orphan).lineage_key


@before("delete_orphan")
def an_orphan_that_is_scheduled_meanwhile_stays(w: World) -> Played:
    orphan, operation = _orphan(w)
    yield operation
    TrainingScheduleFactory.create(registered_model=orphan)
    yield None
    _stays(orphan, operation)


@before("delete_orphan")
def an_orphan_that_is_registered_meanwhile_stays(w: World) -> Played:
    orphan, operation = _orphan(w)
    yield operation
    version_of(orphan)
    yield None
    _stays(orphan, operation)


# ---- files -------------------------------------------------------------------------------------


def _old_run(w: World) -> TrainingRun:
    run: TrainingRun = TrainingRunFactory.create(failed=True)
    write_artifact(w.cloud, run, "pushed_model/1/saved_model.pb")
    return run


def _cleanup(w: World, *, strays: bool = False) -> Operation:
    w.clock.forward(9 * 24 * 3600)
    data = {
        "days": 7, "include_registered": False, "delete_strays": strays,
        "ended_before": (w.clock() - timedelta(days=7)).isoformat(),
    }  # fmt: skip
    operation, _ = open_operation(
        workflow=WORKFLOWS["clean-up-artifacts"],
        subject=Subject(type=ARTIFACTS, id="", name="old artifacts"),
        actor=ANA, now=w.clock(), state=WORKFLOWS["clean-up-artifacts"].state.load(data),
    )  # fmt: skip
    return operation


@before("recheck_artifacts")
def files_at_which_somebody_points_since_they_were_marked_are_kept(w: World) -> Played:
    run = _old_run(w)
    path = run.gcs_artifacts_path
    operation = _cleanup(w)
    yield operation
    w.cloud.models.seed("theirs", display_name="t", artifact_uri=f"{path}pushed_model/1")
    yield None
    ended(operation, "succeeded")
    run.refresh_from_db()
    assert (run.gcs_artifacts_path, len(artifacts(w.cloud, run))) == (path, 1)


@before("recheck_artifacts")
def files_of_a_run_that_is_worked_on_since_they_were_marked_are_kept(w: World) -> Played:
    run = _old_run(w)
    path = run.gcs_artifacts_path
    operation = _cleanup(w)
    yield operation
    w.clock.forward(1)
    open_operation(
        workflow=WORKFLOWS["change-aliases"], subject=subject_of_run(run), actor=ANA,
        now=w.clock(), queue=True,
    )  # fmt: skip
    yield None
    ended(operation, "succeeded")
    run.refresh_from_db()
    assert (run.gcs_artifacts_path, len(artifacts(w.cloud, run))) == (path, 1)


@before("delete_artifacts")
def files_of_a_run_whose_record_is_deleted_meanwhile_become_a_stray(w: World) -> Played:
    run = _old_run(w)
    operation = _cleanup(w)
    yield operation
    run.delete()
    yield None
    ended(operation, "succeeded")
    assert artifacts(w.cloud, run)
    assert operation.data["strays_found"] == 1


@before("delete_strays")
def a_stray_that_is_a_runs_by_now_is_kept(w: World) -> Played:
    run = TrainingRunFactory.build(project=ProjectFactory.create(), failed=True)
    write_artifact(w.cloud, run, "a")
    operation = _cleanup(w, strays=True)
    yield operation
    run.save()
    yield None
    ended(operation, "succeeded")
    assert artifacts(w.cloud, run)


@before("delete_strays")
def a_stray_that_was_written_to_meanwhile_is_kept(w: World) -> Played:
    w.cloud.storage.write(BUCKET, "runs/abc/a", b"x")
    operation = _cleanup(w, strays=True)
    yield operation
    w.cloud.storage.write(BUCKET, "runs/abc/b", b"x")
    yield None
    ended(operation, "succeeded")
    assert w.cloud.storage.names(BUCKET, "runs/abc/") == ["runs/abc/a", "runs/abc/b"]
