"""Training runs: create, submit, cancel, repeat, register as a version, approve, delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_platform.models import Operation, TrainingRun
from ml_platform.services.access.rights import Right, right_to_register
from ml_platform.services.operations.subjects import subject_of_run, subject_of_version
from ml_platform.services.registration import approval, register
from ml_platform.services.registration.register import (
    is_registering,
    register_run,
    require_unregistered,
)
from ml_platform.services.training import runs as training

from .action import Action
from .caller import Caller
from .models import find_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .inputs import ApprovalIn, ReasonIn, TrainingIn


def _create(project: Any, given: TrainingIn, caller: Caller) -> TrainingRun:
    return training.create_run(
        project=project,
        model_name=given.model_name,
        model_type=given.model_type,
        template_uri=given.template_uri,
        parameters=given.parameters,
        actor=caller.actor,
        now=caller.now(),
        idempotency_key=caller.key,
    )


# ---- registration --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterFacts:
    """The facts of a registration; a button does not know yet whether a reason is given."""

    run: TrainingRun
    reason: str


REASON_TO_COME = "The form asks for it."


def to_register(run: TrainingRun) -> RegisterFacts:
    """The facts of a button: its form asks for the reason."""
    return RegisterFacts(run=run, reason=REASON_TO_COME)


def _of_runs(runs: Sequence[TrainingRun], given: ReasonIn | None, _: Caller) -> list[RegisterFacts]:
    if given is None:
        return [to_register(run) for run in runs]
    return [RegisterFacts(run=run, reason=given.reason.strip()) for run in runs]


def _register(facts: RegisterFacts, given: ReasonIn | None, caller: Caller) -> Operation:
    reason = given.reason if given else ""
    return register_run(run=facts.run, actor=caller.actor, now=caller.now(), force_reason=reason)


# ---- approval ------------------------------------------------------------------------------------


def _decide(verb: Callable[..., Operation]) -> Callable[[Any, ApprovalIn, Caller], Operation]:
    return lambda run, given, caller: verb(
        run=run, actor=caller.actor, reason=given.reason, now=caller.now()
    )


CREATE: Action[Any, TrainingRun] = Action(
    name="create-run",
    right=Right.TRAIN,
    find=Caller.find_project,
    begins=True,
    input="TrainingIn",
    run=_create,
    on_page=False,
)
SUBMIT: Action[TrainingRun, Operation] = Action(
    name="submit-run",
    right=Right.TRAIN,
    find=find_run,
    begins=True,
    require=training.require_submittable,
    is_repeated=training.is_submitted,
    run=lambda run, _, caller: training.submit_run(run=run, actor=caller.actor, now=caller.now()),
)
CANCEL: Action[TrainingRun, Operation] = Action(
    name="cancel-run",
    right=Right.TRAIN,
    find=find_run,
    require=training.require_stoppable,
    run=lambda run, _, caller: training.cancel_run(run=run, actor=caller.actor, now=caller.now()),
)
RERUN: Action[TrainingRun, TrainingRun] = Action(
    name="rerun",
    right=Right.TRAIN,
    find=find_run,
    begins=True,
    require=training.require_repeatable,
    run=lambda run, _, caller: training.rerun(
        run=run, actor=caller.actor, now=caller.now(), idempotency_key=caller.key
    ),
)
REGISTER: Action[TrainingRun, Operation] = Action(
    name="register-run",
    right=right_to_register,
    find=find_run,
    facts=_of_runs,
    require=lambda facts: require_unregistered(facts.run, force_reason=facts.reason),
    is_repeated=lambda facts: is_registering(facts.run),
    input="ReasonIn",
    run=_register,
    history=lambda facts: (register.WORKFLOW, subject_of_run(facts.run)),
)
APPROVE: Action[TrainingRun, Operation] = Action(
    name="approve-version",
    right=Right.ADMINISTER,
    find=find_run,
    require=approval.require_approvable,
    input="ApprovalIn",
    run=_decide(approval.approve_version),
    history=lambda run: (approval.APPROVING, subject_of_version(run)),
)
WITHDRAW: Action[TrainingRun, Operation] = Action(
    name="withdraw-approval",
    right=Right.ADMINISTER,
    find=find_run,
    require=approval.require_withdrawable,
    input="ApprovalIn",
    run=_decide(approval.withdraw_approval),
    history=lambda run: (approval.WITHDRAWING, subject_of_version(run)),
)
DELETE: Action[TrainingRun, Operation] = Action(
    name="delete-run",
    right=Right.DELETE,
    find=find_run,
    require=training.require_deletable,
    run=lambda run, _, caller: training.delete_run(run=run, actor=caller.actor, now=caller.now()),
)
ACTIONS: tuple[Action[Any, Any], ...] = (
    CREATE,
    SUBMIT,
    CANCEL,
    RERUN,
    REGISTER,
    APPROVE,
    WITHDRAW,
    DELETE,
)
