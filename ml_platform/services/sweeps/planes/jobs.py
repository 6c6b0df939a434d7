"""Compare our schedules, and the platform's own jobs, with the mirror of Cloud Scheduler."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ml_platform.errors import Misconfigured
from ml_platform.models import MirroredJob, TrainingSchedule
from ml_platform.models.states import LIVE_SCHEDULE_STATES
from ml_platform.services.findings.comparisons.jobs import (
    compare_platform_job,
    compare_schedule,
    job_subject,
    schedule_subject,
)
from ml_platform.services.findings.exclusions import NEW, UNSTORED, WORKED_ON, Reading, Touched
from ml_platform.services.scheduling.job import job_id_of, job_spec, schedule_lock
from ml_platform.services.scheduling.platform_jobs import job_lock, jobs_set_up
from ml_platform.services.scheduling.platform_jobs import job_spec as spec_of

from .models import Compared


def compare_schedules(reading: Reading) -> Iterator[Compared]:
    """Compare each live schedule with the job of its name; yields each chunk."""
    for chunk in reading.chunks(TrainingSchedule.objects.filter(state__in=LIVE_SCHEDULE_STATES)):
        jobs = _mirrored([job_id_of(row) for row in chunk])
        touched = reading.touched()
        result = Compared([], [])
        for row in chunk:
            young = row.created_at > reading.sweep.started_at
            why = NEW if young else _why_not(reading, touched, job_id_of(row), schedule_lock(row))
            try:
                wanted = job_spec(row)
            except Misconfigured as error:
                why = why or str(error)
            if why:
                result.leave_out(schedule_subject(row.pk), row.name, why, row.project_id)
            elif found := compare_schedule(
                row, jobs.get(job_id_of(row)), wanted, now=reading.sweep.started_at
            ):
                result.found.append(found)
        yield result


def compare_platform_jobs(reading: Reading) -> Iterator[Compared]:
    """Compare each job of the platform that was set up with the job of its name."""
    set_up = jobs_set_up()
    if not set_up:
        return
    jobs = _mirrored(set_up)
    touched = reading.touched()
    result = Compared([], [])
    for job_id, spec in set_up.items():
        why = _why_not(reading, touched, job_id, job_lock(job_id))
        try:
            wanted = spec_of(spec)
        except Misconfigured as error:
            why = why or str(error)
        if why:
            result.leave_out(job_subject(job_id), job_id, why, None)
        elif found := compare_platform_job(jobs.get(job_id), wanted):
            result.found.append(found)
    yield result


def _mirrored(job_ids: Collection[str]) -> dict[str, MirroredJob]:
    return {row.job_id: row for row in MirroredJob.objects.filter(job_id__in=job_ids)}


def _why_not(reading: Reading, touched: Touched, job_id: str, lock: str) -> str:
    """Return why a job must not be compared, '' when it may be."""
    if job_id in reading.unstored["scheduler"]:
        return UNSTORED
    return WORKED_ON if lock in touched.services else ""
