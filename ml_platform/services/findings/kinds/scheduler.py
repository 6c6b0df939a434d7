"""Kinds of finding that a sweep of Cloud Scheduler makes."""

from __future__ import annotations

from .kind import SWEPT, Facts, Kind, Repair


def _kind(slug: str, note: tuple[str, str], meaning: str, button: str) -> Kind:
    """A kind of finding about the job of a schedule, or about a job of the platform."""
    of_schedule = slug.startswith("schedule")
    return Kind(
        slug,
        Facts(
            label=slug.replace("_", " ").capitalize(),
            meaning=meaning,
            note=note,
            tone="bad",
            plane="scheduler",
            comparison=f"{SWEPT}.jobs.compare_{'schedules' if of_schedule else 'platform_jobs'}",
            repair=Repair(
                path="ml_platform.services.scheduling.repairs.repair_"
                + ("schedule" if of_schedule else "job"),
                button=button,
                changes_production=True,
                settled_by_recheck=True,
                needs_model=of_schedule,
            ),
        ),
    )


class SchedulerKinds:
    """Kinds of finding that a sweep of Cloud Scheduler makes."""

    SCHEDULE_MISSING = _kind(
        "schedule_missing",
        ("{n} schedule without a job", "{n} schedules without a job"),
        "Cloud Scheduler does not list the job of a schedule.",
        "Create the job again",
    )
    SCHEDULE_PAUSED = _kind(
        "schedule_paused",
        ("{n} schedule's job paused", "{n} schedules' jobs paused"),
        "The job of an active schedule is paused in Cloud Scheduler.",
        "Resume the job",
    )
    SCHEDULE_CHANGED = _kind(
        "schedule_changed",
        ("{n} schedule changed", "{n} schedules changed"),
        "The job of a schedule differs from what the schedule says.",
        "Put ours back",
    )
    SCHEDULE_OVERDUE = _kind(
        "schedule_overdue",
        ("{n} schedule overdue", "{n} schedules overdue"),
        "The time of an active schedule has passed without a run.",
        "Correct the job, expect the next time",
    )
    JOB_MISSING = _kind(
        "job_missing",
        ("{n} job missing", "{n} jobs missing"),
        "Cloud Scheduler does not list a job of the platform that was set up.",
        "Create the job again",
    )
    JOB_PAUSED = _kind(
        "job_paused",
        ("{n} job paused", "{n} jobs paused"),
        "A job of the platform is paused in Cloud Scheduler.",
        "Resume the job",
    )
    JOB_CHANGED = _kind(
        "job_changed",
        ("{n} job changed", "{n} jobs changed"),
        "A job of the platform differs from what was set up.",
        "Put ours back",
    )
