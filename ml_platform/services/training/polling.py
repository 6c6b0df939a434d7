"""Follows live runs: one listing of the unfinished jobs, then a read of each job that is not in it.

The list view has no task details (google/cloud/aiplatform_v1/types/pipeline_job.py, `job_detail`),
so ended jobs are read by name, and some of the live ones for their progress.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ml_platform.cloud import pipelines
from ml_platform.cloud.answers import Absent, Answer, Present, Unknown, ask
from ml_platform.cloud.names import PipelineJobName, label_filter
from ml_platform.cloud.transport.channels import request_reason
from ml_platform.cloud.types import PipelineState, RemotePipelineJob
from ml_platform.models import TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.registry.training_run import TrainingRunQuerySet
from ml_platform.models.states import RunStatus
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.subjects import subject_of_run
from ml_platform.services.operations.work import Clock
from ml_platform.services.ownership.labels import OWNER, RUN, owner
from ml_platform.services.registration.register import register_run

from .results import Results, error_of, percent_of, read_results, stage_of
from .submission import end_run

WATCHED = 25
"""How many live runs one poll reads by name, for their stage and progress."""
WATCHABLE = 500
"""With more live runs none is read for progress: it would be too seldom to be worth the calls."""
ENDED_A_POLL = 100
"""Ended runs that one poll reads, three calls each: a share of Vertex AI's 600 a minute."""
SETTLING = timedelta(minutes=5)
"""How long after its submission NOT_FOUND of a job is inconclusive: the job may still appear."""
NO_RESULTS = "Its pipeline succeeded, but the bucket with its results is gone."
FORGOTTEN = "The run's pipeline was deleted in Vertex AI."
_NEVER = datetime.min.replace(tzinfo=UTC)
_ENDED = {
    PipelineState.FAILED: RunStatus.FAILED,
    PipelineState.CANCELLED: RunStatus.CANCELLED,
}


@dataclass(slots=True)
class PollResult:
    """The live runs, how many reached which status, why others are unknown, and how many ended
    runs are left for the next poll. `listed` is whether Vertex AI listed the unfinished jobs."""

    live: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)
    left: int = 0
    listed: bool = False

    @property
    def is_blind(self) -> bool:
        """Whether the state of every live run is unknown."""
        return bool(self.live) and (not self.listed or len(self.unknown) >= self.live)

    @property
    def summary(self) -> str:
        """The result in one sentence."""
        ended = ", ".join(f"{count} {status}" for status, count in sorted(self.ended.items()))
        left = f" {self.left} more have ended; poll again." if self.left else ""
        return f"{self.live} running, of which ended: {ended or 'none'}.{left}"


def poll_training_runs(*, actor: Actor, clock: Clock) -> PollResult:
    """Bring all running runs to the state of their pipelines; two polls may run at once.

    An inconclusive answer changes nothing; the next poll reads again.
    """
    runs = TrainingRun.objects.filter(status=RunStatus.RUNNING).exclude(pipeline_job_name="")
    live = {run.uid.hex: run for run in runs.order_by("submitted_at")}
    result = PollResult(live=len(live))
    if not live:
        return result
    with request_reason("poll_training_runs"):
        answer = ask(lambda: _unfinished(live))
        if isinstance(answer, Present):
            result.listed = True
            _follow(live, answer.value, actor, clock, result)
        else:
            result.unknown.append(answer.reason)
    return result


def unfinished_filter() -> str:
    """The listing filter for our jobs that have not ended."""
    ended = ("SUCCEEDED", "FAILED", "CANCELLED")
    states = (f'state!="PIPELINE_STATE_{state}"' for state in ended)
    return " AND ".join([label_filter({OWNER: owner()}), *states])


def _unfinished(live: Mapping[str, TrainingRun]) -> dict[str, RemotePipelineJob]:
    pages = pipelines.list_pipeline_jobs(filter=unfinished_filter())
    jobs = ((job.labels.get(RUN, ""), job) for page in pages for job in page)
    return {uid: job for uid, job in jobs if uid in live}


def _follow(
    live: Mapping[str, TrainingRun],
    unfinished: Mapping[str, RemotePipelineJob],
    actor: Actor,
    clock: Clock,
    result: PollResult,
) -> None:
    gone = _by_turn(run for uid, run in live.items() if uid not in unfinished)
    running = _by_turn(live[uid] for uid in unfinished)
    result.left = max(0, len(gone) - ENDED_A_POLL)
    watched = running[:WATCHED] if len(running) <= WATCHABLE else []
    for run in (*gone[:ENDED_A_POLL], *watched):
        TrainingRun.objects.filter(pk=run.pk).update(last_polled_at=clock())
        _settle(run, actor, clock, result)


def _by_turn(runs: Iterable[TrainingRun]) -> list[TrainingRun]:
    """Those read longest ago first, so that a run that cannot end does not delay the others."""
    return sorted(runs, key=lambda run: run.last_polled_at or _NEVER)


def _settle(run: TrainingRun, actor: Actor, clock: Clock, result: PollResult) -> None:
    """Read this run's job and bring the run to its state."""
    name = PipelineJobName.parse(run.pipeline_job_name)
    answer: Answer[RemotePipelineJob] = ask(lambda: pipelines.get_pipeline_job(name))
    now = clock()
    match answer:
        case Present(value=job) if job.labels.get(RUN) != run.uid.hex:
            result.unknown.append(f"{name} is not the pipeline of {run}.")
        case Present(value=job) if job.state in _ENDED:
            _end(run, job, _ENDED[job.state], actor, now, result)
        case Present(value=job) if job.state == PipelineState.SUCCEEDED:
            _succeed(run, actor, now, result)
        case Present(value=job):
            _note_progress(run, job)
        case Absent() if run.submitted_at and now - run.submitted_at >= SETTLING:
            _move(run, RunStatus.FAILED, actor, now, result, error=FORGOTTEN)
        case Absent(reason=reason) | Unknown(reason=reason):
            result.unknown.append(reason)


def _end(
    run: TrainingRun,
    job: RemotePipelineJob,
    status: RunStatus,
    actor: Actor,
    now: datetime,
    result: PollResult,
) -> None:
    error = error_of(job) if status == RunStatus.FAILED else job.error
    stage, progress = stage_of(job.tasks) or run.stage, percent_of(job.tasks) or run.progress
    _move(run, status, actor, now, result, error=error, stage=stage, progress=progress)


def _succeed(run: TrainingRun, actor: Actor, now: datetime, result: PollResult) -> None:
    answer: Answer[Results] = ask(lambda: read_results(run.gcs_artifacts_path))
    if not isinstance(answer, Present):
        result.unknown.append(answer.reason)
        if isinstance(answer, Unknown) and answer.code == "parent_not_found":
            _running(run).update(error=f"{NO_RESULTS} {answer.reason}")
        return
    found = answer.value
    blessed = not found.not_blessed
    status = RunStatus.COMPLETED if blessed else RunStatus.NOT_BLESSED
    changes = {
        "is_blessed": blessed,
        "metrics": found.metrics,
        "remark": found.remark,
        "error": found.not_blessed,
    }
    with atomic():  # a blessed run and its registration are committed together
        moved = _move(run, status, actor, now, result, **changes, stage="", progress=100)
        if moved and blessed:
            run.refresh_from_db()
            register_run(run=run, actor=actor, now=now)


def _running(run: TrainingRun) -> TrainingRunQuerySet:
    return TrainingRun.objects.filter(pk=run.pk, status=RunStatus.RUNNING)


def _move(
    run: TrainingRun,
    status: RunStatus,
    actor: Actor,
    now: datetime,
    result: PollResult,
    **changes: Any,
) -> bool:
    moved = end_run(
        run.pk,
        source=RunStatus.RUNNING,
        to=status,
        now=now,
        columns=subject_of_run(run).columns | actor.columns,
        **changes,
    )
    result.ended[status] += moved
    return moved


def _note_progress(run: TrainingRun, job: RemotePipelineJob) -> None:
    stage, progress = stage_of(job.tasks) or run.stage, percent_of(job.tasks)
    if job.tasks and (stage, progress) != (run.stage, run.progress):
        _running(run).update(stage=stage, progress=progress)
