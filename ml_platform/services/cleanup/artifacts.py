"""Delete old artifacts of runs that are not a version: mark them, check again, then delete.

Our rows alone do not prove that files are unused, so everything that may refer to them is read
right before the deletion (law 8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from ml_platform.cloud.answers import Answer, Present, ask
from ml_platform.conf import require_settings
from ml_platform.errors import PlatformError
from ml_platform.models import TrainingRun
from ml_platform.models.locking import lock_rows, update_rows
from ml_platform.models.states import OperationKind
from ml_platform.services.artifacts.folders import (
    Size,
    deletable_prefix,
    delete_what_may_go,
    human_size,
    measure,
)
from ml_platform.services.installation import marker
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.log import WriteLine, write_lines
from ml_platform.services.operations.store import Actor, Subject, open_operation
from ml_platform.services.operations.work import Clock, Heartbeat, Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Step, Workflow
from ml_platform.services.removal.guard import why_needed, why_used
from ml_platform.services.removal.references import Pointers, read_pointers
from ml_platform.services.removal.refused import place
from ml_platform.text import counted

from . import strays
from .artifact_candidates import candidates
from .state import (
    ArtifactCleanup,
    ArtifactState,
    artifact_cleanup_of,
    end_folder,
    pass_by,
    report,
)

ARTIFACTS = "artifacts"
"""Subject type of an operation that cleans up artifacts."""
FIRST_STEP = "mark_artifacts"
BATCH = 200
"""Runs that are marked at once; what uses their artifacts is read once for all of them."""


def clean_up_artifacts(
    *,
    days: int,
    actor: Actor,
    clock: Clock,
    include_registered: bool = False,
    delete_strays: bool = False,
    dry_run: bool = False,
    write_line: WriteLine = lambda line: None,
    idempotency_key: str = "",
) -> ArtifactCleanup:
    """Delete the artifacts of runs that ended `days` ago and are not a version, as one operation.

    Artifacts of a version, or that anything refers to (`references`), stay. `include_registered`
    also takes runs whose version was lost, after Vertex AI has answered again that it is gone.
    `delete_strays` also deletes unused files of that age that belong to no run. A dry
    run only reads.

    :raises KeyReused: the key was used for a different request.
    """
    require_settings()
    now = clock()
    state = ArtifactState(
        days=days,
        ended_before=(now - timedelta(days=days)).isoformat(),
        include_registered=include_registered,
        delete_strays=delete_strays,
    )
    if dry_run:
        return _rehearse(state, write_line)
    operation, _ = open_operation(
        workflow=WORKFLOW,
        subject=Subject(type=ARTIFACTS, id="", name=f"artifacts older than {days} days"),
        actor=actor,
        now=now,
        state=state,
        idempotency_key=idempotency_key,
        request={
            "job": ARTIFACTS,
            "days": days,
            "include_registered": include_registered,
            "delete_strays": delete_strays,
        },
    )
    workflow = replace(WORKFLOW, steps=steps(write_line=write_line))
    advance(operation_id=operation.pk, workflows={workflow.slug: workflow}, clock=clock)
    operation.refresh_from_db()
    return artifact_cleanup_of(operation)


def _rehearse(state: ArtifactState, write_line: WriteLine) -> ArtifactCleanup:
    result, reasons = ArtifactCleanup.load(state.dump()), _Reasons()
    for run in candidates(state).order_by("pk").iterator(chunk_size=BATCH):
        if reason := reasons.to_keep(run):
            result = replace(result, kept=result.kept + 1)
            write_lines(write_line, [f"Kept {_named(run)}: {reason}"])
            continue
        size, text = _measure(run)
        result = replace(result, runs=result.runs + 1, freed=_sum(result, size))
        write_lines(write_line, [f"Would delete {_named(run)}: {text}."])
    return strays.look_for_strays(result, write_line)


def _measure(run: TrainingRun) -> tuple[Size, str]:
    prefix = deletable_prefix(run=run)
    if prefix is None:
        return Size(0, 0), "nothing"
    answer = ask(lambda: measure(prefix=prefix))
    if not isinstance(answer, Present):
        return Size(0, 0), f"its size is unknown: {answer.reason}"
    return (
        answer.value,
        f"{counted(answer.value.objects, 'object')}, {human_size(answer.value.bytes)}",
    )


def _sum(state: ArtifactState, size: Size) -> tuple[int, int]:
    return state.freed[0] + size.objects, state.freed[1] + size.bytes


@dataclass
class _Reasons:
    """Why artifacts are kept; who uses them is read once, when it is first needed."""

    heartbeat: Heartbeat = lambda: None
    _users: Answer[Pointers] | None = None

    def to_keep(self, run: TrainingRun) -> str:
        """Return the first reason, '' without one."""
        self.heartbeat()
        if reason := why_needed(run):
            return reason
        self._users = self._users or ask(lambda: read_pointers(heartbeat=self.heartbeat))
        prefix = deletable_prefix(run=run)
        return why_used(str(prefix), self._users) if prefix else ""


# ---- the steps -----------------------------------------------------------------------------------


def _mark(work: Work[ArtifactState]) -> Outcome:
    """Clear the artifact paths of the next runs, so that none of them can be registered."""
    following = candidates(work.state).filter(pk__gt=work.state.after).order_by("pk")
    batch = list(following.values_list("pk", flat=True)[:BATCH])
    if not batch:
        return Next(to=strays.FIRST_STEP, note=artifact_cleanup_of(work.operation).summary)
    marker.require_ours(clock=work.clock)
    return Next(note=f"{counted(len(batch), 'run')}.", change=partial(_mark_batch, work, batch))


def _mark_batch(work: Work[ArtifactState], batch: Sequence[int]) -> None:
    lock_rows(TrainingRun.objects.filter(pk__in=batch))
    found = candidates(work.state).filter(pk__in=batch)
    selected = tuple(found.values_list("pk", "gcs_artifacts_path"))
    update_rows(
        TrainingRun.objects.filter(pk__in=[pk for pk, _ in selected]), gcs_artifacts_path=""
    )
    work.state = replace(work.state, after=batch[-1], doomed=selected)


def _recheck(work: Work[ArtifactState], write_line: WriteLine) -> Outcome:
    """Check the marked runs again: a change may have started just before they were marked."""
    paths = dict(work.state.doomed)
    spared: dict[int, str] = {}
    reasons = _Reasons(heartbeat=work.renew_lease)
    runs = list(TrainingRun.objects.filter(pk__in=paths).order_by("pk"))
    for run in runs:
        run.gcs_artifacts_path = paths[run.pk]
        if reason := reasons.to_keep(run):
            spared[run.pk] = paths[run.pk]
            report(work, write_line, f"Kept {_named(run)}: {reason}")
    staying = tuple((run.pk, paths[run.pk]) for run in runs if run.pk not in spared)
    return Next(
        note=f"{len(staying)} of {len(runs)}.", change=partial(_spare, work, spared, staying)
    )


def _spare(
    work: Work[ArtifactState], spared: Mapping[int, str], staying: tuple[tuple[int, str], ...]
) -> None:
    _give_back(spared)
    work.state = replace(work.state, doomed=staying, kept=work.state.kept + len(spared))


def _delete(work: Work[ArtifactState], write_line: WriteLine) -> Outcome:
    """Delete one chunk of the first marked run; find the next runs when none is left."""
    if not work.state.doomed:
        return Next(to=FIRST_STEP, note=artifact_cleanup_of(work.operation).summary)
    (pk, path), *left = work.state.doomed
    run = TrainingRun.objects.filter(pk=pk).first()
    if run is None:  # its row was deleted since, so the folder is a stray
        work.state = replace(work.state, doomed=tuple(left))
        return Continue(note=path)
    run.gcs_artifacts_path = path
    prefix = deletable_prefix(run=run)
    if prefix:
        marker.require_ours(clock=work.clock)
    if prefix and (chunk := delete_what_may_go(prefix=prefix, after=place(work.state.refused))):
        state = replace(work.state, freed=_sum(work.state, chunk.size))
        work.state = pass_by(state, chunk)
        return Continue(note=f"{path}: {counted(chunk.size.objects, 'object')}")
    work.state, refused = end_folder(replace(work.state, doomed=tuple(left)), path)
    if refused:
        work.state = replace(work.state, kept=work.state.kept + 1)
        report(work, write_line, f"Kept {_named(run)}: {refused}")
        return Continue(note=path, change=partial(_give_back, {pk: path}))
    work.state = replace(work.state, runs=work.state.runs + 1)
    report(work, write_line, f"Deleted {_named(run)}.")
    return Continue(note=path)


def restore(work: Work[ArtifactState], error: PlatformError) -> None:
    """Give back the artifact paths of marked runs after a failure; a retry begins again."""
    _give_back(dict(work.state.doomed))
    work.state = replace(work.state, doomed=(), after=0, refused={})
    work.retry_at = FIRST_STEP


def _give_back(marked: Mapping[int, str]) -> None:
    """Set the artifact paths of runs again, in the caller's transaction."""
    lock_rows(TrainingRun.objects.filter(pk__in=marked))
    for pk, path in marked.items():
        TrainingRun.objects.filter(pk=pk, gcs_artifacts_path="").update(gcs_artifacts_path=path)


def _named(run: TrainingRun) -> str:
    return f"{run.gcs_artifacts_path} of {run}"


def steps(*, write_line: WriteLine = lambda line: None) -> tuple[Step, ...]:
    """Return the steps; `write_line` receives a line for each run and folder."""
    return (
        Step(name=FIRST_STEP, title="Take the next runs", run=_mark, cancellable=True),
        Step(
            name="recheck_artifacts",
            title="Check them again",
            run=partial(_recheck, write_line=write_line),
        ),
        Step(
            name="delete_artifacts",
            title="Delete their artifacts in GCS",
            run=partial(_delete, write_line=write_line),
            probe="recheck_artifacts",
            back_to=FIRST_STEP,
        ),
        *strays.steps(write_line=write_line),
    )


DAYS = 7
WORKFLOW = Workflow(
    slug="clean-up-artifacts",
    kind=OperationKind.CLEANUP,
    title="Clean up {}",
    past="cleaned up {}",
    state=ArtifactState,
    steps=steps(),
    on_failure=restore,
)
