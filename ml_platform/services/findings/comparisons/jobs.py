"""Compare our schedules and the platform's jobs with what Cloud Scheduler lists: pure functions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from ml_platform.cloud.types import JobSpec, JobState
from ml_platform.models import MirroredJob, TrainingSchedule
from ml_platform.models.states import ScheduleState
from ml_platform.services.findings.discrepancy import Discrepancy
from ml_platform.services.findings.kinds import FindingKind

LATE = timedelta(minutes=15)
"""A call that failed is repeated within minutes; after this, the run of a time is overdue."""
SCHEDULE_KINDS = (
    FindingKind.SCHEDULE_MISSING,
    FindingKind.SCHEDULE_PAUSED,
    FindingKind.SCHEDULE_CHANGED,
    FindingKind.SCHEDULE_OVERDUE,
)
JOB_KINDS = (FindingKind.JOB_MISSING, FindingKind.JOB_PAUSED, FindingKind.JOB_CHANGED)
AS_SCHEDULE = (
    "Read the job again, then create, correct, pause or resume it as the schedule says. Times that "
    "have passed are not made up for: use Train now."
)
AS_SET_UP = (
    "Read the job again, then create, correct or resume it as it was set up. It is refused if the "
    "job calls an address that is not ours: set JOB_PREFIX, or delete that job first."
)
_OFF = {JobState.PAUSED: "is paused", JobState.DISABLED: "was disabled by Google"}
_COMPARED = {
    "schedule": "schedule",
    "time_zone": "time zone",
    "uri": "target",
    "service_account": "service account",
}


def schedule_subject(schedule_id: int | str) -> str:
    """Return the subject of findings about a schedule."""
    return f"schedule {schedule_id}"


def job_subject(job_id: str) -> str:
    """Return the subject of findings about a job of the platform."""
    return f"job {job_id}"


def compare_schedule(
    schedule: TrainingSchedule, seen: MirroredJob | None, wanted: JobSpec, *, now: datetime
) -> Discrepancy | None:
    """Compare a live schedule with the job of its name; None when it will ring as it says."""
    active = schedule.state == ScheduleState.ACTIVE
    if seen is None:
        kind, what = FindingKind.SCHEDULE_MISSING, "has no job in Cloud Scheduler"
    elif active and seen.state in _OFF:
        kind, what = FindingKind.SCHEDULE_PAUSED, f"{_OFF[JobState(seen.state)]} there"
    elif changed := _changed(seen, wanted):
        kind, what = FindingKind.SCHEDULE_CHANGED, f"has another {changed} in Cloud Scheduler"
    elif not active and seen.state == JobState.ENABLED:
        kind, what = FindingKind.SCHEDULE_CHANGED, "is paused, but was resumed in Cloud Scheduler"
    elif active and schedule.next_run_at and schedule.next_run_at + LATE < now:
        due = schedule.next_run_at.isoformat(timespec="minutes")
        kind, what = FindingKind.SCHEDULE_OVERDUE, f"was due at {due}, and no call came"
    else:
        return None
    due_at = schedule.next_run_at
    return Discrepancy(
        kind=kind,
        subject=schedule_subject(schedule.pk),
        title=f"The schedule {schedule} {what}",
        repair=AS_SCHEDULE,
        evidence={
            "schedule_id": schedule.pk,
            "model_name": schedule.model_name,
            "our_state": schedule.state,
            "our_next_time": due_at.isoformat() if due_at else "",
            **_evidence(seen, wanted),
        },
        project_id=schedule.project_id,
        lineage_id=schedule.registered_model_id,
    )


def compare_platform_job(seen: MirroredJob | None, wanted: JobSpec) -> Discrepancy | None:
    """Compare a job that was set up with the job of its name; None when it rings as set up."""
    if seen is None:
        kind, what = FindingKind.JOB_MISSING, "was set up, but Cloud Scheduler does not list it"
    elif seen.state in _OFF:
        kind, what = FindingKind.JOB_PAUSED, f"{_OFF[JobState(seen.state)]} in Cloud Scheduler"
    elif changed := _changed(seen, wanted):
        kind, what = FindingKind.JOB_CHANGED, f"has another {changed} than was set up"
    else:
        return None
    return Discrepancy(
        kind=kind,
        subject=job_subject(wanted.job_id),
        title=f"The job {wanted.job_id} {what}",
        repair=AS_SET_UP,
        evidence={"job_id": wanted.job_id, **_evidence(seen, wanted)},
    )


def _changed(seen: MirroredJob, wanted: JobSpec) -> str:
    """Return what differs, in words; '' when nothing does."""
    words = [
        word for name, word in _COMPARED.items() if getattr(seen, name) != getattr(wanted, name)
    ]
    failed = ["state (its last update failed)"] if seen.state == JobState.UPDATE_FAILED else []
    return ", ".join(words + failed)


def _evidence(seen: MirroredJob | None, wanted: JobSpec) -> dict[str, Any]:
    if seen is None:
        return {"scheduler_listing": "complete, without this job"}
    differing = {name for name in _COMPARED if getattr(seen, name) != getattr(wanted, name)}
    return {
        "scheduler_state": seen.state,
        **{f"scheduler_{name}": getattr(seen, name) for name in sorted(differing)},
        **{f"our_{name}": getattr(wanted, name) for name in sorted(differing)},
        "scheduler_next_time": seen.next_at.isoformat() if seen.next_at else "",
        "scheduler_last_attempt": seen.last_attempt_at.isoformat() if seen.last_attempt_at else "",
        "scheduler_last_error": seen.last_error,
    }
