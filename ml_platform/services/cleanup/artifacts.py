"""Old artifacts of runs that are no version: marked, looked at again, then deleted (law 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import transaction

from ml_platform.cloud.answers import Answer, Present, ask
from ml_platform.conf import require_settings
from ml_platform.errors import PlatformError
from ml_platform.models import Operation, TrainingRun
from ml_platform.models.locking import lock_rows, update_rows
from ml_platform.models.states import OperationKind
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.log import Tell, keep, say
from ml_platform.services.operations.store import Actor, Subject, open_operation
from ml_platform.services.operations.work import Clock, Heartbeat, Json, Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Step, Workflow
from ml_platform.services.registry import refusals
from ml_platform.services.registry.artifacts import (
    Size,
    deletable_prefix,
    delete_what_may_go,
    human_size,
    measure,
)
from ml_platform.services.registry.references import Pointers, read_pointers
from ml_platform.text import counted

from . import stray_steps
from .artifact_candidates import candidates, reason_of_users, reason_to_keep
from .stray_steps import Strays, look_for_strays

ARTIFACTS = "artifacts"
"""Subject type of an operation that cleans up artifacts."""
FIRST_STEP = "mark_artifacts"
BATCH = 200
"""Runs that are marked at once; who uses their artifacts is asked once for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactCleanup:
    """What a cleanup did so far; without an operation: what one would do."""

    days: int
    runs: int = 0
    kept: int = 0
    freed: Size
    strays: Strays
    strays_deleted: int = 0
    refused: str = ""
    """How much Cloud Storage would not delete, '' for nothing."""
    operation: Operation | None = None

    @property
    def summary(self) -> str:
        """What became of them, in the words of the job's report."""
        would = self.operation is None
        said = (
            f"{'Would delete' if would else 'Deleted'} the artifacts of {self.runs} run(s) older "
            f"than {self.days} days: {counted(self.freed.objects, 'object')}, "
            f"{human_size(self.freed.bytes)}; kept those of {self.kept}"
        )
        if self.refused:
            said += f"; {self.refused}"
        if self.strays.unknown:
            return f"{said}; what belongs to no run is unknown"
        if self.strays.total:
            said += f"; {self.strays.total} folder(s) of no run, {self.strays_deleted} deleted"
        return said


def clean_up_artifacts(
    *,
    days: int,
    actor: Actor,
    clock: Clock,
    include_registered: bool = False,
    delete_strays: bool = False,
    dry_run: bool = False,
    tell: Tell = lambda line: None,
    idempotency_key: str = "",
) -> ArtifactCleanup:
    """Delete the artifacts of runs that ended before that and are no version, as one operation.

    Never those of a version, nor those at which anybody points (`references`). `include_registered`
    also takes runs whose version was lost, after Vertex AI has been asked again and answered that
    it is gone. `delete_strays` also takes what belongs to no run and at which nobody points, and is
    as old. A dry run only reads.

    :raises KeyReused: the key was used for a different request.
    """
    require_settings()
    now = clock()
    data = {
        "days": days,
        "ended_before": (now - timedelta(days=days)).isoformat(),
        "include_registered": include_registered,
        "delete_strays": delete_strays,
    }
    if dry_run:
        return _rehearse(data, tell)
    operation, _ = open_operation(
        workflow=WORKFLOW,
        subject=Subject(type=ARTIFACTS, id="", name=f"artifacts older than {days} days"),
        actor=actor,
        now=now,
        data=data,
        idempotency_key=idempotency_key,
        request={k: v for k, v in data.items() if k != "ended_before"} | {"job": ARTIFACTS},
    )
    workflow = replace(WORKFLOW, steps=steps(tell=tell))
    advance(operation_id=operation.pk, workflows={workflow.slug: workflow}, clock=clock)
    operation.refresh_from_db()
    return artifact_cleanup_of(operation)


def artifact_cleanup_of(operation: Operation) -> ArtifactCleanup:
    """How far an operation that cleans up artifacts is."""
    data = operation.data
    return ArtifactCleanup(
        days=data["days"],
        runs=data.get("runs", 0),
        kept=data.get("kept", 0),
        freed=Size(*data.get("freed", (0, 0))),
        strays=Strays(
            shown=data.get("strays", ()),
            total=data.get("strays_found", 0),
            unknown=data.get("strays_unknown", ""),
        ),
        strays_deleted=data.get("strays_deleted", 0),
        refused=refusals.in_all(data),
        operation=operation,
    )


def _rehearse(data: Json, tell: Tell) -> ArtifactCleanup:
    runs = kept = objects = size = 0
    complete, reasons = True, _Reasons()
    for run in candidates(data).order_by("pk").iterator(chunk_size=BATCH):
        if reason := reasons.to_keep(run):
            kept += 1
            say(tell, [f"Kept {_named(run)}: {reason}"])
            continue
        prefix = deletable_prefix(run=run)
        measured = ask(lambda prefix=prefix: measure(prefix=prefix)) if prefix else None  # type: ignore[misc]
        runs += 1
        if isinstance(measured, Present):
            objects, size = objects + measured.value.objects, size + measured.value.bytes
            complete = complete and measured.value.complete
        say(tell, [f"Would delete {_named(run)}: {_measured(measured)}."])
    strays = look_for_strays(every_version=data["delete_strays"])
    say(tell, strays.lines)
    return ArtifactCleanup(
        days=data["days"], runs=runs, kept=kept, freed=Size(objects, size, complete), strays=strays
    )


@dataclass
class _Reasons:
    """What stands against deleting; who uses the artifacts is read once, when first asked."""

    heartbeat: Heartbeat = lambda: None
    _users: Answer[Pointers] | None = None

    def to_keep(self, run: TrainingRun) -> str:
        """The first reason, '' without one."""
        self.heartbeat()
        if reason := reason_to_keep(run):
            return reason
        self._users = self._users or ask(lambda: read_pointers(heartbeat=self.heartbeat))
        return reason_of_users(run, self._users)


def _measured(measured: Any) -> str:
    if isinstance(measured, Present):
        return f"{counted(measured.value.objects, 'object')}, {human_size(measured.value.bytes)}"
    return f"its size is unknown: {measured.reason}" if measured else "nothing"


# ---- the steps -----------------------------------------------------------------------------------


def _mark(work: Work) -> Outcome:
    """Take the artifacts from the next runs; from now on none of them can be registered."""
    after = work.data.get("after", 0)
    following = candidates(work.data).filter(pk__gt=after).order_by("pk")
    batch = list(following.values_list("pk", flat=True)[:BATCH])
    if not batch:
        return Next(to=stray_steps.FIRST_STEP, note=artifact_cleanup_of(work.operation).summary)
    return Next(note=f"{counted(len(batch), 'run')}.", change=partial(_mark_batch, work, batch))


def _mark_batch(work: Work, batch: Sequence[int]) -> None:
    lock_rows(TrainingRun.objects.filter(pk__in=batch))
    found = candidates(work.data).filter(pk__in=batch)
    doomed = [[pk, path] for pk, path in found.values_list("pk", "gcs_artifacts_path")]
    update_rows(TrainingRun.objects.filter(pk__in=[pk for pk, _ in doomed]), gcs_artifacts_path="")
    _keep(work, after=batch[-1], doomed=doomed)


def _recheck(work: Work, tell: Tell) -> Outcome:
    """Look at the marked runs again, for what had begun before they were marked."""
    spared: list[list[Any]] = []
    staying: list[list[Any]] = []
    reasons = _Reasons(heartbeat=work.renew_lease)
    for run, path in _doomed(work):
        run.gcs_artifacts_path = path
        reason = reasons.to_keep(run)
        (spared if reason else staying).append([run.pk, path])
        if reason:
            _tell(work, tell, f"Kept {_named(run)}: {reason}")
    return Next(
        note=f"{len(staying)} of {len(staying) + len(spared)}.",
        change=partial(_spare, work, spared, staying),
    )


def _spare(work: Work, spared: Sequence[Sequence[Any]], staying: Sequence[Sequence[Any]]) -> None:
    _give_back(spared)
    _keep(work, doomed=staying, kept=work.data.get("kept", 0) + len(spared))


def _delete(work: Work, tell: Tell) -> Outcome:
    """Delete one chunk of the first marked run, or be done with it when none is left."""
    doomed = work.data["doomed"]
    if not doomed:
        return Next(to=FIRST_STEP, note=artifact_cleanup_of(work.operation).summary)
    pk, path = doomed[0]
    run = TrainingRun.objects.filter(pk=pk).first()
    if run is None:  # its record was deleted meanwhile; the folder is a stray now
        work.data["doomed"] = doomed[1:]
        return Continue(note=path)
    run.gcs_artifacts_path = path
    prefix = deletable_prefix(run=run)
    after = refusals.place(work.data)
    if prefix and (chunk := delete_what_may_go(prefix=prefix, after=after)):
        freed, went = Size(*work.data.get("freed", (0, 0))), chunk.size
        work.data["freed"] = (freed.objects + went.objects, freed.bytes + went.bytes)
        refusals.pass_by(work.data, chunk)
        return Continue(note=f"{path}: {counted(went.objects, 'object')}")
    work.data["doomed"] = doomed[1:]
    if refused := refusals.end_folder(work.data, path):
        work.data["kept"] = work.data.get("kept", 0) + 1
        _tell(work, tell, f"Kept {_named(run)}: {refused}")
        return Continue(note=path, change=partial(_give_back, [(pk, path)]))
    work.data["runs"] = work.data.get("runs", 0) + 1
    _tell(work, tell, f"Deleted {_named(run)}.")
    return Continue(note=path)


def restore(work: Work, error: PlatformError) -> None:
    """A cleanup that failed gives back what it marked and did not finish."""
    _give_back(work.data.get("doomed", ()))
    refusals.forget_folder(work.data)
    Operation.objects.filter(pk=work.operation.pk).update(
        step=FIRST_STEP, data=work.data | {"doomed": [], "after": 0}
    )


def _give_back(marked: Sequence[Sequence[Any]]) -> None:
    """Give runs their artifacts again, in the caller's transaction."""
    lock_rows(TrainingRun.objects.filter(pk__in=[pk for pk, _ in marked]))
    for pk, path in marked:
        TrainingRun.objects.filter(pk=pk, gcs_artifacts_path="").update(gcs_artifacts_path=path)


def _doomed(work: Work) -> Iterator[tuple[TrainingRun, str]]:
    paths = dict(work.data["doomed"])
    for run in TrainingRun.objects.filter(pk__in=paths).order_by("pk"):
        yield run, paths[run.pk]


def _keep(work: Work, **learnt: Any) -> None:
    """Write what a change learnt beside the change itself, in its transaction."""
    data = {**work.data, **learnt}
    Operation.objects.filter(pk=work.operation.pk).update(data=data)
    transaction.on_commit(partial(work.data.update, data))


def _tell(work: Work, tell: Tell, line: str) -> None:
    keep(work.data, [line])
    say(tell, [line])


def _named(run: TrainingRun) -> str:
    return f"{run.gcs_artifacts_path} of {run}"


def steps(*, tell: Tell = lambda line: None) -> tuple[Step, ...]:
    """The steps; `tell` hears a line for each run and folder."""
    return (
        Step(name=FIRST_STEP, title="Take the next runs", run=_mark, cancellable=True),
        Step(
            name="recheck_artifacts",
            title="Look at them again",
            run=partial(_recheck, tell=tell),
        ),
        Step(
            name="delete_artifacts",
            title="Delete their artifacts in GCS",
            run=partial(_delete, tell=tell),
            probe="recheck_artifacts",
            back_to=FIRST_STEP,
        ),
        *stray_steps.steps(tell=tell),
    )


DAYS = 7
WORKFLOW = Workflow(
    slug="clean-up-artifacts",
    kind=OperationKind.CLEANUP,
    title="Clean up {}",
    past="cleaned up {}",
    steps=steps(),
    on_failure=restore,
)
