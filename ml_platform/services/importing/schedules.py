"""Schedules: those that have ended come as history; the jobs of the others are taken over."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ml_platform.cloud.answers import Absent, Present, Unknown
from ml_platform.cloud.names import JobName
from ml_platform.cloud.transport.channels import location_path
from ml_platform.errors import Invalid, PlatformError
from ml_platform.models import RegisteredModel, TrainingRun, TrainingSchedule
from ml_platform.models.database import atomic
from ml_platform.models.locking import update_rows
from ml_platform.models.states import LIVE_SCHEDULE_STATES
from ml_platform.services.operations.history import record
from ml_platform.services.scheduling.job import NOT_RINGING, require_webhook
from ml_platform.services.scheduling.new_schedule import already_there, insert_schedule
from ml_platform.services.scheduling.takeover import take_over_schedule
from ml_platform.services.scheduling.times import cron_for, to_minute
from ml_platform.services.training.runs import check_recipe

from .candidates import ScheduleRow, first_time
from .context import IMPORT, Decision, HostModel, Importing, Outcome, ask_job, subject_of


def import_schedules(work: Importing) -> None:
    """Bring the schedules, and the jobs of those that are active or paused."""
    for page in work.candidates("schedules", ScheduleRow):
        for row in page:
            model = work.models.get(row.model)
            decision = _decide(work, row, model)
            if work.write and model and decision.outcome == Outcome.IMPORTED:
                decision = _bring(work, row, model, decision)
            work.note("schedules", row.key, row.name, decision)


def _decide(work: Importing, row: ScheduleRow, model: HostModel | None) -> Decision:
    if row.project not in work.projects:
        return Decision(Outcome.REFUSED, f"Its project {row.project} did not come.")
    if model is None:
        return Decision(Outcome.REFUSED, f"No model has the key {row.model}.")
    if TrainingSchedule.objects.filter(uid=work.uid("schedules", row.key)).exists():
        return Decision(Outcome.PRESENT)
    try:
        first_time(row, after=work.clock())
        if row.state not in LIVE_SCHEDULE_STATES:
            return Decision(Outcome.IMPORTED, "As history: it has ended.")
        if model.decision.outcome in (Outcome.WAITS, Outcome.REFUSED):
            return Decision(model.decision.outcome, f"Its model {model.row.name} did not come.")
        _require_trainable(row)
        return _compare_job(row)
    except PlatformError as error:
        return Decision(Outcome.REFUSED, error.words)


def _require_trainable(row: ScheduleRow) -> None:
    """Check that a run of ours can be made of it.

    :raises PlatformError: the settings, the template or the parameters do not allow it.
    """
    require_webhook()
    if not row.template_uri:
        raise Invalid(
            "It has no pipeline template, so it could not train here.",
            advice="Give the compiled pipeline in schedules.template_uri.",
        )
    check_recipe(template_uri=row.template_uri, parameters=row.parameters)


def _compare_job(row: ScheduleRow) -> Decision:
    """Return what becomes of a live schedule, by its job in Cloud Scheduler.

    :raises Invalid: its job is in another project or location.
    """
    if not row.job:
        return Decision(Outcome.IMPORTED, "It had no job; it gets one.")
    name = _job_here(row.job)
    match ask_job(name.job_id):
        case Unknown(reason=reason):
            return Decision(Outcome.WAITS, reason)
        case Absent():
            return Decision(
                Outcome.IMPORTED, f"Cloud Scheduler has no job {name.job_id}; it gets one."
            )
        case Present(value=job) if job.state in NOT_RINGING:
            return Decision(Outcome.IMPORTED, f"As paused, as its job {name.job_id} is.")
        case _:
            return Decision(
                Outcome.IMPORTED, f"Its job {name.job_id} gets paused, and one of ours calls."
            )


def _job_here(text: str) -> JobName:
    name = JobName.parse(text)
    if str(name) != f"{location_path()}/jobs/{name.job_id}":
        raise Invalid(
            f"Its job {name} is not in {location_path()}.",
            advice="Pause it there, and create the schedule here.",
        )
    return name


# ---- what is written -----------------------------------------------------------------------------


def _bring(work: Importing, row: ScheduleRow, model: HostModel, decision: Decision) -> Decision:
    uid = work.uid("schedules", row.key)
    try:
        if row.state in LIVE_SCHEDULE_STATES:
            decision = _take_over(work, row, model, uid)
        else:
            _write_ended(work, row, model, uid)
    except PlatformError as error:
        return Decision(Outcome.REFUSED, error.words)
    _give_runs(work, row, uid)
    return decision


def _take_over(work: Importing, row: ScheduleRow, model: HostModel, uid: UUID) -> Decision:
    now = work.clock()
    return work.finish(
        take_over_schedule(
            project=work.projects[row.project],
            uid=uid,
            state=row.state,
            job=row.job,
            name=row.name,
            model_name=model.row.model_name,
            model_type=model.row.type,
            template_uri=row.template_uri,
            parameters=row.parameters,
            frequency=row.frequency,
            first=first_time(row, after=now),
            time_zone=row.time_zone,
            created_by=work.users.get(row.created_by),
            actor=work.actor,
            now=now,
        )
    )


def _write_ended(work: Importing, row: ScheduleRow, model: HostModel, uid: UUID) -> None:
    """A schedule that has ended keeps the times that it had; its model may not be registered."""
    project, now = work.projects[row.project], work.clock()
    made = row.created_at or now
    first = to_minute(first_time(row, after=made))
    about: dict[str, Any] = {"project_id": project.pk, "model_name": model.row.model_name}
    schedule = TrainingSchedule(
        **about,
        uid=uid,
        name=row.name,
        model_type=model.row.type,
        registered_model=RegisteredModel.objects.filter(**about).first(),
        state=row.state,
        frequency=row.frequency,
        cron=cron_for(frequency=row.frequency, first=first, time_zone=row.time_zone),
        time_zone=row.time_zone,
        starts_at=first,
        template_uri=row.template_uri,
        parameters=row.parameters,
        created_by_id=work.users.get(row.created_by),
        created_at=made,
    )
    with atomic():
        if insert_schedule(schedule) is None:
            raise already_there(schedule)
        record(
            workflow=IMPORT,
            subject=subject_of(project, f"the schedule {row.name}"),
            actor=work.actor,
            now=now,
            note="It has ended.",
        )


def _give_runs(work: Importing, row: ScheduleRow, uid: UUID) -> None:
    """Note which runs the schedule started; runs of a schedule have its model."""
    schedule = TrainingSchedule.objects.filter(uid=uid).first()
    if schedule is None:
        return
    runs = TrainingRun.objects.filter(uid__in=work.runs_of.get(row.key, []))
    update_rows(runs.filter(schedule=None), schedule=schedule)
    if schedule.registered_model:
        model = schedule.registered_model
        update_rows(runs.filter(registered_model=None), registered_model=model)
