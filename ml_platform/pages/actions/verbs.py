"""What a button does: for each verb its right, its subject, what stands against it, its service."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ml_platform import kpis
from ml_platform.errors import Conflict
from ml_platform.models import (
    DeployedEndpoint,
    Operation,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.pages.common.buttons import (
    Permissions,
    reason_disabled_deploy,
    reason_disabled_redeploy,
    reason_disabled_remove,
    reason_disabled_rollback,
    reason_disabled_undeploy,
)
from ml_platform.pages.common.locks import who_holds
from ml_platform.pages.common.verb import ActionRequest, Verb, always, in_scope
from ml_platform.pages.findings.verbs import FINDING_VERBS
from ml_platform.pages.run.buttons import reason_disabled_register, reason_disabled_schedule
from ml_platform.pages.run.verbs import RUN_VERBS, find_run
from ml_platform.pages.training.registry_table import verdict_of
from ml_platform.pages.view_models.context import Button
from ml_platform.services.access.rights import Right, right_to_register
from ml_platform.services.access.scope import Scope
from ml_platform.services.deployment import deploy as deployment
from ml_platform.services.deployment.undeploy import delete_endpoint, undeploy_endpoint
from ml_platform.services.operations import retry_cancel as interventions
from ml_platform.services.operations import worker
from ml_platform.services.operations.retry_cancel import right_for
from ml_platform.services.operations.workflow import title_of
from ml_platform.services.registration import register as registration
from ml_platform.services.registry.registry_state import RegistryVerdict
from ml_platform.services.scheduling import schedules as scheduling


def _endpoint(scope: Scope, key: str) -> DeployedEndpoint:
    rows = DeployedEndpoint.objects.select_related("registered_model", "run", "previous_run")
    return in_scope(rows, scope, key)


def _schedule(scope: Scope, key: str) -> TrainingSchedule:
    return in_scope(TrainingSchedule.objects.select_related("registered_model"), scope, key)


def _operation(scope: Scope, key: str) -> Operation:
    return in_scope(Operation.objects.select_related("lineage"), scope, key)


def _against_deploy(run: TrainingRun) -> str:
    lineage = run.registered_model
    if lineage is None:
        return "It is not registered."
    endpoints = list(lineage.deployed_endpoints.select_related("run").order_by("pk"))
    why = reason_disabled_deploy(run, _verdict(lineage), endpoints)
    return why or who_holds(run.project_id, [lineage]).of(lineage)


def _verdict(lineage: RegisteredModel) -> RegistryVerdict:
    return verdict_of(lineage, kpis.vertex_reading().unread)


def _busy(endpoint: DeployedEndpoint) -> str:
    lineage, service = endpoint.registered_model, endpoint.service_name
    return who_holds(endpoint.project_id, [lineage], [service]).of(lineage, service)


def _against_redeploy(endpoint: DeployedEndpoint) -> str:
    return reason_disabled_redeploy(endpoint, _verdict(endpoint.registered_model), _busy(endpoint))


def _against_rollback(endpoint: DeployedEndpoint) -> str:
    return reason_disabled_rollback(endpoint, _verdict(endpoint.registered_model), _busy(endpoint))


def _trigger(schedule: TrainingSchedule, asked: ActionRequest) -> Operation | None:
    return scheduling.trigger_schedule(
        schedule=schedule, actor=asked.actor, now=asked.now, idempotency_key=asked.key
    ).operation


def reason_disabled_retry(operation: Operation) -> str:
    """What stands against going on with an operation."""
    return _told(interventions.require_retryable, operation)


def reason_disabled_cancel(operation: Operation) -> str:
    """What stands against cancelling an operation."""
    asked = "It is asked to stop already." if operation.cancel_requested else ""
    return _told(interventions.require_cancellable, operation) or asked


def _told(require: Callable[[Operation], None], operation: Operation) -> str:
    try:
        require(operation)
    except Conflict as error:
        return f"{error} {error.advice}".strip()
    return ""


def operation_buttons(permissions: Permissions, operation: Operation) -> tuple[Button, ...]:
    """Retry where it failed, or cancel while it runs; no button that can only fail."""
    name = title_of(operation)
    right, key = right_for(operation), operation.pk
    if not reason_disabled_retry(operation):
        retry = permissions.button(
            "retry-operation", key, "Retry", name=f"Retry: {name}", right=right
        )
        return (retry,)
    if _told(interventions.require_cancellable, operation):
        return ()
    cancel = permissions.button(
        "cancel-operation",
        key,
        "Cancel",
        name=f"Cancel: {name}",
        right=right,
        why=reason_disabled_cancel(operation),
        confirm=f"Cancel: {name}? It stops at the next step where that is safe.",
        tone="danger",
    )
    return (cancel,)


def _retry(operation: Operation, asked: ActionRequest) -> Operation:
    again = interventions.retry_operation(operation=operation, actor=asked.actor)
    worker.enqueue(again)
    return again


def _cancel(operation: Operation, asked: ActionRequest) -> Operation:
    asked_to = interventions.request_cancel(operation=operation, actor=asked.actor, now=asked.now)
    worker.enqueue(asked_to)
    return asked_to


def _scheduled(verb: str, do: Callable[..., Operation]) -> Verb:
    return Verb(
        _schedule,
        always(Right.TRAIN),
        lambda schedule: reason_disabled_schedule(verb, schedule),
        lambda schedule, asked: do(schedule=schedule, actor=asked.actor, now=asked.now),
    )


VERBS: Mapping[str, Verb] = {
    "deploy-run": Verb(
        find_run,
        always(Right.DEPLOY),
        _against_deploy,
        lambda run, asked: deployment.deploy_run(
            run=run,
            actor=asked.actor,
            now=asked.now,
            reason=asked.reason,
            idempotency_key=asked.key,
        ),
    ),
    "redeploy": Verb(
        _endpoint,
        always(Right.DEPLOY),
        _against_redeploy,
        lambda endpoint, asked: deployment.redeploy_endpoint(
            endpoint=endpoint,
            actor=asked.actor,
            now=asked.now,
            reason=asked.reason,
            idempotency_key=asked.key,
        ),
    ),
    "rollback": Verb(
        _endpoint,
        always(Right.DEPLOY),
        _against_rollback,
        lambda endpoint, asked: deployment.rollback_endpoint(
            endpoint=endpoint,
            actor=asked.actor,
            now=asked.now,
            reason=asked.reason,
            idempotency_key=asked.key,
        ),
    ),
    "undeploy": Verb(
        _endpoint,
        always(Right.DEPLOY),
        lambda endpoint: reason_disabled_undeploy(endpoint, _busy(endpoint)),
        lambda endpoint, asked: undeploy_endpoint(
            endpoint=endpoint,
            actor=asked.actor,
            now=asked.now,
            reason=asked.reason,
            idempotency_key=asked.key,
        ),
    ),
    "delete-endpoint": Verb(
        _endpoint,
        always(Right.DELETE),
        reason_disabled_remove,
        lambda endpoint, asked: delete_endpoint(
            endpoint=endpoint, actor=asked.actor, now=asked.now, reason=asked.reason
        ),
    ),
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
    "retry-operation": Verb(_operation, right_for, reason_disabled_retry, _retry),
    "cancel-operation": Verb(_operation, right_for, reason_disabled_cancel, _cancel),
    **RUN_VERBS,
    **FINDING_VERBS,
}
