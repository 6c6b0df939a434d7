"""What a button does: for each verb its right, its subject, what stands against it, its service."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ml_platform.models import (
    Operation,
    TrainingSchedule,
)
from ml_platform.pages.common.verb import ActionRequest, Verb, always, in_scope
from ml_platform.pages.run.buttons import reason_disabled_register, reason_disabled_schedule
from ml_platform.pages.run.verbs import RUN_VERBS, find_run
from ml_platform.services.access.rights import Right, right_to_register
from ml_platform.services.access.scope import Scope
from ml_platform.services.registration import register as registration
from ml_platform.services.scheduling import schedules as scheduling


def _schedule(scope: Scope, key: str) -> TrainingSchedule:
    return in_scope(TrainingSchedule.objects.select_related("registered_model"), scope, key)


def _trigger(schedule: TrainingSchedule, asked: ActionRequest) -> Operation | None:
    return scheduling.trigger_schedule(
        schedule=schedule, actor=asked.actor, now=asked.now, idempotency_key=asked.key
    ).operation


def _scheduled(verb: str, do: Callable[..., Operation]) -> Verb:
    return Verb(
        _schedule,
        always(Right.TRAIN),
        lambda schedule: reason_disabled_schedule(verb, schedule),
        lambda schedule, asked: do(schedule=schedule, actor=asked.actor, now=asked.now),
    )


VERBS: Mapping[str, Verb] = {
    "register-run": Verb(
        find_run,
        right_to_register,
        reason_disabled_register,
        lambda run, asked: registration.register_run(
            run=run, actor=asked.actor, now=asked.now, force_reason=asked.reason
        ),
    ),
    "trigger-schedule": Verb(
        _schedule,
        always(Right.TRAIN),
        lambda schedule: reason_disabled_schedule("trigger-schedule", schedule),
        _trigger,
    ),
    "pause-schedule": _scheduled("pause-schedule", scheduling.pause_schedule),
    "resume-schedule": _scheduled("resume-schedule", scheduling.resume_schedule),
    "cancel-schedule": _scheduled("cancel-schedule", scheduling.cancel_schedule),
    **RUN_VERBS,
}
