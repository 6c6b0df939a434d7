"""The buttons of runs, of the aliases they have as versions, and of schedules; and why not."""

from __future__ import annotations

from ml_platform.models import TrainingRun, TrainingSchedule
from ml_platform.models.states import (
    LIVE_RUN_STATUSES,
    LIVE_SCHEDULE_STATES,
    SUCCEEDED_RUN_STATUSES,
    TRAINING_RUN_STATUSES,
    Registration,
    RunStatus,
    ScheduleState,
)
from ml_platform.pages.common.buttons import Permissions
from ml_platform.pages.view_models.context import Button
from ml_platform.services.access.rights import Right, right_to_register

WAITING = (RunStatus.PENDING, RunStatus.SCHEDULED)


def run_buttons(permissions: Permissions, run: TrainingRun) -> tuple[Button, ...]:
    """Submit or cancel while it is not over; register or else run again when it is."""
    what = f"run {run.pk} of {run.model_name}"
    buttons = []
    if not reason_disabled_submit(run):
        name = f"Submit {what}"
        buttons.append(
            permissions.button("submit-run", run.pk, "Submit", name=name, right=Right.TRAIN)
        )
    if not reason_disabled_cancel_run(run):
        buttons.append(
            permissions.button(
                "cancel-run",
                run.pk,
                "Cancel",
                name=f"Cancel {what}",
                right=Right.TRAIN,
                confirm=f"Cancel {what}? Its pipeline is stopped.",
                tone="danger",
            )
        )
    if not reason_disabled_register(run):
        buttons.append(_register_button(permissions, run, what))
    elif run.status not in LIVE_RUN_STATUSES:
        buttons.append(_rerun_button(permissions, run, what))
    return tuple(buttons)


def more_of_run(permissions: Permissions, run: TrainingRun) -> tuple[Button, ...]:
    """What is done to a run now and then."""
    what = f"run {run.pk} of {run.model_name}"
    rerun = () if reason_disabled_register(run) else (_rerun_button(permissions, run, what),)
    if reason_disabled_delete_run(run):
        return rerun
    delete = permissions.button(
        "delete-run",
        run.pk,
        "Delete run",
        name=f"Delete {what}",
        right=Right.DELETE,
        confirm=f"Delete the record of {what}? Its files and what was done to it stay.",
        tone="danger",
    )
    return (*rerun, delete)


def _rerun_button(permissions: Permissions, run: TrainingRun, what: str) -> Button:
    return permissions.button(
        "rerun",
        run.pk,
        "Run again",
        name=f"Run {what} again",
        right=Right.TRAIN,
        why="" if run.template_uri else "Its pipeline template was not kept.",
        confirm=f"Train {run.model_name} again with the same pipeline and parameters?",
    )


def reason_disabled_submit(run: TrainingRun) -> str:
    """What stands against sending a run's pipeline to Vertex AI."""
    return "" if run.status in WAITING else f"It is {run.get_status_display().lower()}."


def reason_disabled_cancel_run(run: TrainingRun) -> str:
    """What stands against cancelling a run."""
    over = run.status not in TRAINING_RUN_STATUSES
    return f"It is {run.get_status_display().lower()}." if over else ""


def reason_disabled_delete_run(run: TrainingRun) -> str:
    """What stands against deleting the record of a run."""
    if run.registration != Registration.NONE:
        return "It is or was a version. Delete the version; its run stays in the history."
    live = run.status in LIVE_RUN_STATUSES
    return f"It is {run.get_status_display().lower()}." if live else ""


def _register_button(permissions: Permissions, run: TrainingRun, what: str) -> Button:
    forced = run.status == RunStatus.NOT_BLESSED
    return permissions.button(
        "register-run",
        run.pk,
        "Register…" if forced else "Register",
        name=f"Register {what}",
        right=right_to_register(run),
        confirm="" if forced else f"Register {what} as a version of {run.model_name}?",
        reason="Its evaluator did not bless it. Why register it?" if forced else "",
    )


def reason_disabled_register(run: TrainingRun) -> str:
    """What stands against making a run a version."""
    if run.registration == Registration.DELETED:
        return "Its version was deleted. Train it again."
    if run.registration not in (Registration.NONE, Registration.LOST):
        return "It is a version already."
    if run.status not in {*SUCCEEDED_RUN_STATUSES, RunStatus.NOT_BLESSED}:
        return f"It is {run.get_status_display().lower()}."
    return ""


SCHEDULE_VERBS: tuple[tuple[str, str, tuple[str, ...], str, str], ...] = (
    ("trigger-schedule", "Train now", LIVE_SCHEDULE_STATES, "Train now, beside {}?", "plain"),
    ("pause-schedule", "Pause", (ScheduleState.ACTIVE,), "", "plain"),
    ("resume-schedule", "Resume", (ScheduleState.PAUSED,), "", "plain"),
    (
        "cancel-schedule",
        "End",
        LIVE_SCHEDULE_STATES,
        "End {} for good? Its runs and versions stay.",
        "danger",
    ),
)
"""Verb, label, the states it may start from, its question, its tone."""


def schedule_buttons(permissions: Permissions, schedule: TrainingSchedule) -> tuple[Button, ...]:
    """What a schedule's state allows."""
    return tuple(
        permissions.button(
            verb,
            schedule.pk,
            label,
            name=f"{label}: {schedule.name}",
            right=Right.TRAIN,
            confirm=question.format(schedule.name),
            tone=tone,
        )
        for verb, label, states, question, tone in SCHEDULE_VERBS
        if schedule.state in states
    )


def reason_disabled_schedule(verb: str, schedule: TrainingSchedule) -> str:
    """What stands against that verb now."""
    states = next(states for name, _, states, _, _ in SCHEDULE_VERBS if name == verb)
    if schedule.state in states:
        return ""
    return f"The schedule is {schedule.get_state_display().lower()}."
