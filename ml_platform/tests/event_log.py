"""Whether the event log agrees with the rows: each committed change has its event, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ml_platform.models import DeployedEndpoint, Event, Finding, Operation, TrainingRun
from ml_platform.models.states import EventKind, OperationStatus, Registration

ENDS = {
    OperationStatus.PENDING: {EventKind.OPERATION_STARTED, EventKind.OPERATION_RETRIED},
    OperationStatus.RUNNING: {EventKind.OPERATION_STARTED, EventKind.OPERATION_RETRIED},
    OperationStatus.FAILED: {EventKind.OPERATION_FAILED, EventKind.OPERATION_REFUSED},
    OperationStatus.CANCELLED: {EventKind.OPERATION_CANCELLED},
}
"""The newest event of an operation, by its status; one that succeeded is looked at below."""


def disagreements() -> list[str]:
    """What a row says and its newest event does not, in words."""
    return [*_operations(), *_findings(), *_versions(), *_endpoints()]


def _operations() -> Iterator[str]:
    for operation in Operation.objects.all():
        kinds = list(operation.events.order_by("seq").values_list("kind", flat=True))
        own = [kind for kind in kinds if kind.startswith("operation_")]
        starts = own.count(EventKind.OPERATION_STARTED)
        if operation.status == OperationStatus.SUCCEEDED:
            good = len(kinds) == 1 if not starts else own[-1] == EventKind.OPERATION_SUCCEEDED
        else:
            good = bool(own) and own[-1] in ENDS[OperationStatus(operation.status)]
        ended = len(own) - starts - own.count(EventKind.OPERATION_RETRIED)
        if not good or ended > 1 + own.count(EventKind.OPERATION_RETRIED):
            yield f"operation {operation} is {operation.status}, its events are {kinds}"


def _findings() -> Iterator[str]:
    for finding in Finding.objects.all():
        events = _of("finding", finding.pk, EventKind.values)
        if not events or events[-1].after["status"] != finding.status:
            yield f"finding {finding} is {finding.status}, its events are {_kinds(events)}"


def _versions() -> Iterator[str]:
    kinds = [EventKind.MODEL_REGISTERED, EventKind.VERSION_LOST, EventKind.VERSION_RESTORED]
    for run in TrainingRun.objects.all():
        events = _of("trainingrun", run.pk, [*kinds, EventKind.VERSION_DELETED])
        is_marked = run.registration == Registration.DELETING
        states = {run.registration} | ({"registered", "lost"} if is_marked else set())
        if events and events[-1].after["registration"] not in states:
            yield f"{run} is {run.registration!r}, its events are {_kinds(events)}"


def _endpoints() -> Iterator[str]:
    kinds = [EventKind.DEPLOYED, EventKind.UNDEPLOYED]
    for endpoint in DeployedEndpoint.objects.all():
        events = _of("deployedendpoint", endpoint.pk, kinds)
        if events and (events[-1].kind == EventKind.DEPLOYED) != endpoint.is_active:
            yield f"{endpoint} is active: {endpoint.is_active}, its events are {_kinds(events)}"


def _of(subject_type: str, pk: int, kinds: Iterable[str]) -> list[Event]:
    rows = Event.objects.filter(subject_type=subject_type, subject_id=str(pk), kind__in=kinds)
    return list(rows.order_by("seq"))


def _kinds(events: Iterable[Event]) -> list[str]:
    return [event.kind for event in events]
