"""The buttons of runs and schedules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ml_platform.actions import runs, schedules
from ml_platform.actions.action import Action
from ml_platform.actions.caller import Caller
from ml_platform.models import TrainingRun, TrainingSchedule
from ml_platform.models.states import LIVE_RUN_STATUSES, RunStatus
from ml_platform.pages.common.buttons import button, is_offered, offered
from ml_platform.pages.view_models.context import Button


def run_buttons(caller: Caller, run: TrainingRun) -> list[Button]:
    """Submit or cancel while it is not over; register or else run again when it is."""
    what = f"run {run.pk} of {run.model_name}"
    buttons = offered(caller, runs.SUBMIT, run, "Submit", name=f"Submit {what}")
    buttons += offered(
        caller,
        runs.CANCEL,
        run,
        "Cancel",
        name=f"Cancel {what}",
        confirm=f"Cancel {what}? Its pipeline is stopped.",
        tone="danger",
    )
    if is_offered(runs.REGISTER, runs.to_register(run)):
        buttons.append(register_button(caller, run))
    elif run.status not in LIVE_RUN_STATUSES:
        buttons.append(_rerun_button(caller, run, what))
    return buttons


def more_of_run(caller: Caller, run: TrainingRun) -> list[Button]:
    """The less frequent actions on a run."""
    what = f"run {run.pk} of {run.model_name}"
    registers = is_offered(runs.REGISTER, runs.to_register(run))
    rerun = [_rerun_button(caller, run, what)] if registers else []
    return rerun + offered(
        caller,
        runs.DELETE,
        run,
        "Delete run",
        name=f"Delete {what}",
        confirm=f"Delete the record of {what}? Its files and what was done to it stay.",
        tone="danger",
    )


def _rerun_button(caller: Caller, run: TrainingRun, what: str) -> Button:
    return button(
        caller,
        runs.RERUN,
        run,
        "Run again",
        name=f"Run {what} again",
        confirm=f"Train {run.model_name} again with the same pipeline and parameters?",
    )


def train_again(caller: Caller, run: TrainingRun) -> list[Button]:
    """Train the model of a run again, if its run can be repeated."""
    if not is_offered(runs.RERUN, run):
        return []
    return [_rerun_button(caller, run, f"run {run.pk} of {run.model_name}")]


def register_button(caller: Caller, run: TrainingRun) -> Button:
    """Make a run a version; one that its evaluator did not bless only with a reason."""
    what = f"run {run.pk} of {run.model_name}"
    forced = run.status == RunStatus.NOT_BLESSED
    return button(
        caller,
        runs.REGISTER,
        run,
        "Register…" if forced else "Register",
        facts=runs.to_register(run),
        name=f"Register {what}",
        confirm="" if forced else f"Register {what} as a version of {run.model_name}?",
        reason="Its evaluator did not bless it. Why register it?" if forced else "",
    )


SCHEDULE_BUTTONS: Sequence[tuple[Action[TrainingSchedule, Any], str, str, str]] = (
    (schedules.TRIGGER, "Train now", "Train now, beside {}?", "plain"),
    (schedules.PAUSE, "Pause", "", "plain"),
    (schedules.RESUME, "Resume", "", "plain"),
    (schedules.CANCEL, "End", "End {} for good? Its runs and versions stay.", "danger"),
)
"""Action, label, question, tone."""


def schedule_buttons(caller: Caller, schedule: TrainingSchedule, now: datetime) -> list[Button]:
    """What a schedule's state allows."""
    resume = schedules.ResumeFacts(schedule, now)
    return [
        shown
        for action, label, question, tone in SCHEDULE_BUTTONS
        for shown in offered(
            caller,
            action,
            schedule,
            label,
            facts=resume if action is schedules.RESUME else schedule,
            name=f"{label}: {schedule.name}",
            confirm=question.format(schedule.name),
            tone=tone,
        )
    ]
