"""The record of every change across planes: open it, claim it, commit its steps, end it.

A row is intent, lock and resume point in one. A worker claims it by compare-and-set and gets a
lease and a fence; what it commits later counts only while the fence is still its own.
"""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from django.db import IntegrityError, transaction
from django.db.models import CharField, F, JSONField, Q, QuerySet, UUIDField, Value
from django.db.models.functions import Cast, Coalesce

from ml_platform.conf import get_settings
from ml_platform.errors import Conflict, PlatformError, storable
from ml_platform.models import Event, Operation, RegisteredModel
from ml_platform.models.states import EventKind, OperationKind, OperationStatus
from ml_platform.services.events import outbox

Clock: TypeAlias = Callable[[], datetime]
Heartbeat: TypeAlias = Callable[[], None]
"""Called between the reads of a long step, as `Work.hold`."""
Json: TypeAlias = dict[str, Any]


class Busy(Conflict):
    """Another operation holds the lineage or the service.

    Its words go into the history of the project it was asked in, and name nothing outside it. A
    door shows `holder` only to who sees its project.
    """

    code = "busy"
    advice = "Wait for it to end, then try again."

    def __init__(self, message: str, *, advice: str = "", holder: Operation | None = None) -> None:
        super().__init__(message, advice=advice)
        self.holder = holder


class KeyReused(Conflict):
    """The idempotency key belongs to a different request."""

    code = "idempotency_key_reused"
    advice = "Use a new key for a new request."


class LeaseLost(Exception):
    """Another worker has claimed the operation since; what this one did last is not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks, and through which door: page, api, command, scheduler or worker."""

    label: str
    origin: str
    user_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an operation is about, in words that survive the thing itself."""

    type: str
    id: str
    name: str
    project_id: int | None = None
    lineage: RegisteredModel | None = None
    lineage_key: str = ""
    service_key: str = ""


def lineage_key(*, project_id: int, model_name: str) -> str:
    """The lock on a lineage; a name, so that it can be held before the row exists."""
    return f"{project_id}:{model_name}"


def digest(request: Json) -> str:
    """Fingerprint of a request, to tell a repeated one from another under the same key."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()


def open_operation(
    *,
    kind: OperationKind,
    subject: Subject,
    actor: Actor,
    now: datetime,
    step: str,
    data: Json | None = None,
    reason: str = "",
    idempotency_key: str = "",
    request: Json | None = None,
    queue: bool = False,
) -> tuple[Operation, bool]:
    """Commit the intent; returns the operation and whether it is new.

    With `queue` it waits until its lineage is free; without, it takes the lock now.
    Call inside a transaction to make the intent and what it marks one.

    :raises Busy: the lock is held; the message names a holder of the same project.
    :raises KeyReused: the key was used for a different request.
    """
    fingerprint = digest(request or {})
    if known := _replayed(idempotency_key, fingerprint):
        return known, False
    operation = Operation(
        kind=kind,
        status=OperationStatus.PENDING if queue else OperationStatus.RUNNING,
        **_columns(subject, actor),
        idempotency_key=idempotency_key or None,
        request_digest=fingerprint,
        reason=reason,
        step=step,
        data=data or {},
        created_at=now,
        started_at=None if queue else now,
    )
    try:
        with transaction.atomic():
            operation.save(force_insert=True)
            record_change(EventKind.OPERATION_STARTED, operation=operation)
    except IntegrityError as error:
        if known := _replayed(idempotency_key, fingerprint):
            return known, False
        raise _busy(subject) from error
    return operation, True


def answered_before(*, idempotency_key: str, request: Json) -> Operation | None:
    """The operation that this very request opened; a verb asks before it judges what is now.

    :raises KeyReused: the key was used for a different request.
    """
    return _replayed(idempotency_key, digest(request))


def _replayed(key: str, fingerprint: str) -> Operation | None:
    known = Operation.objects.filter(idempotency_key=key).first() if key else None
    if known and known.request_digest != fingerprint:
        raise KeyReused(f"The idempotency key {key} was used for a different request.")
    return known


def _busy(subject: Subject) -> Busy:
    found = list(holders(lineages=[subject.lineage_key], services=[subject.service_key]))
    # One holds the lineage, another may hold the service: that of the asker's project can be named.
    holder = min(found, key=lambda one: one.project_id != subject.project_id, default=None)
    if holder is None:
        return Busy(f"{subject.name} was busy a moment ago.", advice="Try again now.")
    told = f"{subject.name} {held_by(holder, project_id=subject.project_id)}"
    return Busy(told, holder=holder)


def holders(*, lineages: Collection[str], services: Collection[str]) -> QuerySet[Operation]:
    """The operations that hold one of these locks now."""
    held = Q(lineage_key__in=[key for key in lineages if key])
    held |= Q(service_key__in=[key for key in services if key])
    return Operation.objects.filter(held, status=OperationStatus.RUNNING)


def held_by(holder: Operation, *, project_id: Any) -> str:
    """`is held by Deploy test-v1-rank, which ana began on 8 Feb 2026 at 12:03 UTC.`

    It is read in that project: another tenant's operation, model and person are not named (law 10).
    """
    if holder.project_id != project_id:
        return "is held by an operation outside its project."
    begun = holder.started_at or holder.created_at
    return (
        f"is held by {holder.get_kind_display()} {holder.subject_name}, which "
        f"{holder.actor_label} began on {begun.day} {begun:%b %Y at %H:%M} UTC."
    )


@dataclass(slots=True)
class Work:
    """An operation in the hands of the worker that claimed it."""

    operation: Operation
    fence: int
    clock: Clock
    lease_until: datetime
    data: Json = field(default_factory=dict)
    remote_operation: str = ""
    """Name of the operation at Google that was started last; another worker goes on with it."""
    after_crash: bool = False
    """Whether the worker before this one never gave the operation back."""

    def require_lease(self) -> None:
        """Check that a call sent now has its answer before another worker may go on.

        :raises LeaseLost: this worker was held up for too long.
        """
        if self.clock() + timedelta(seconds=get_settings().CALL_TIMEOUT) > self.lease_until:
            raise LeaseLost(f"The lease of operation {self.operation.pk} is running out.")

    def renew_lease(self) -> None:
        """Keep the lease through a step of many reads: it is renewed once half of it is gone.

        :raises LeaseLost: the fence is no longer ours.
        """
        now = self.clock()
        if self.lease_until > lease_end(now) - timedelta(seconds=get_settings().LEASE_SECONDS / 2):
            return
        mine = Operation.objects.filter(
            pk=self.operation.pk, fence=self.fence, status=OperationStatus.RUNNING
        )
        if not mine.update(lease_until=lease_end(now)):
            raise LeaseLost(f"Operation {self.operation.pk} was claimed by another worker.")
        self.lease_until = lease_end(now)

    def commit(self, change: Callable[[], None] | None = None, **fields: Any) -> None:
        """Record an outcome and what it changes in our tables, in one transaction.

        :raises LeaseLost: the fence is no longer ours; nothing was written.
        """
        now = self.clock()
        fields = {name: kept(value) for name, value in fields.items()}
        with transaction.atomic():
            mine = Operation.objects.filter(
                pk=self.operation.pk, fence=self.fence, status=OperationStatus.RUNNING
            )
            written = mine.update(
                **{
                    "lease_until": lease_end(now),
                    "data": kept(self.data),
                    "remote_operation": self.remote_operation,
                    **fields,
                },
            )
            if not written:
                raise LeaseLost(f"Operation {self.operation.pk} was claimed by another worker.")
            if change:
                change()
            if kind := _ENDS.get(fields.get("status", "")):
                self.operation.refresh_from_db(fields=["lineage"])  # the change may have set it
                record_change(kind, operation=self.operation, after=_failure(fields))
        for name, value in fields.items():
            setattr(self.operation, name, value)
        self.lease_until = lease_end(now)
        self.operation.data = self.data


_ENDS = {
    OperationStatus.SUCCEEDED: EventKind.OPERATION_SUCCEEDED,
    OperationStatus.FAILED: EventKind.OPERATION_FAILED,
    OperationStatus.CANCELLED: EventKind.OPERATION_CANCELLED,
}


def _failure(fields: Json) -> Json:
    return {name: fields[name] for name in ("error_code", "error", "advice") if fields.get(name)}


def kept(value: Any) -> Any:
    """A text, or what is to be JSON, as every database can store it; an infinite number becomes
    null. Anything else stays as it is."""
    match value:
        case str():
            return storable(value)
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {kept(key): kept(item) for key, item in value.items()}
        case list() | tuple():
            return [kept(item) for item in value]
    return value


def lease_end(now: datetime) -> datetime:
    """Until when a worker that commits now may go on."""
    return now + timedelta(seconds=get_settings().LEASE_SECONDS)


def claim(*, operation_id: uuid.UUID, clock: Clock) -> Work | None:
    """Take the operation if it is due and free; None when it is not, or its lineage is held."""
    now = clock()
    due = _due(now).filter(pk=operation_id)
    before = due.values("fence", "lease_until").first()
    if before is None:
        return None
    try:
        with transaction.atomic():
            claimed = due.filter(fence=before["fence"]).update(
                status=OperationStatus.RUNNING,
                fence=F("fence") + 1,
                lease_until=lease_end(now),
                started_at=Coalesce(F("started_at"), now),
                next_attempt_at=None,
            )
    except IntegrityError:
        return None
    if not claimed:
        return None
    operation = Operation.objects.get(pk=operation_id)
    return Work(
        operation,
        before["fence"] + 1,
        clock,
        lease_end(now),
        data=dict(operation.data),
        remote_operation=operation.remote_operation,
        after_crash=before["lease_until"] is not None,
    )


def _due(now: datetime) -> QuerySet[Operation]:
    return Operation.objects.live().filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=now),
        Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now),
    )


def due_operations(*, now: datetime, limit: int = 1000) -> list[uuid.UUID]:
    """Live operations nobody works on whose time has come, oldest first."""
    return list(_due(now).order_by("created_at").values_list("pk", flat=True)[:limit])


def record(
    *,
    kind: OperationKind,
    subject: Subject,
    actor: Actor,
    now: datetime,
    note: str,
    reason: str = "",
    event: EventKind = EventKind.OPERATION_SUCCEEDED,
    before: Json | None = None,
    after: Json | None = None,
) -> Operation:
    """Record a change that needed one transaction only as an operation and its one event."""
    done = {"step": "done", "title": note, "status": "done", "finished_at": now.isoformat()}
    fields: Json = {"status": OperationStatus.SUCCEEDED, "reason": reason, "steps": [done]}
    return _record_ended(kind, subject, actor, now, fields, event, before, after)


def record_refusal(
    *,
    kind: OperationKind,
    subject: Subject,
    actor: Actor,
    now: datetime,
    error: PlatformError,
    reason: str = "",
) -> Operation:
    """Record a refused request and its event: why it was asked, and why it was refused."""
    said = {"error_code": error.code, "error": str(error), "advice": error.advice}
    fields = {"status": OperationStatus.FAILED, "reason": reason, **said}
    event = EventKind.OPERATION_REFUSED
    return _record_ended(kind, subject, actor, now, fields, event, None, _failure(said))


def _record_ended(
    kind: OperationKind,
    subject: Subject,
    actor: Actor,
    now: datetime,
    fields: Json,
    event: EventKind,
    before: Json | None,
    after: Json | None,
) -> Operation:
    columns = {**_columns(subject, actor), **fields}
    with transaction.atomic():
        operation = Operation.objects.create(
            kind=kind, **columns, created_at=now, started_at=now, finished_at=now
        )
        record_change(event, operation=operation, before=before, after=after)
    return operation


def record_change(
    kind: EventKind,
    *,
    operation: Operation | None = None,
    subject: Subject | None = None,
    actor: Actor | None = None,
    before: Json | None = None,
    after: Json | None = None,
) -> None:
    """Record the event of a change, in the transaction of the change.

    Subject and actor are those of the operation unless they are given.
    """
    columns = _columns_of(operation, subject) | (_by(actor) if actor else {})
    states = {"before": kept(before or {}), "after": kept(after or {})}
    outbox.record([Event(kind=kind, **columns, **states)])


def record_deletions(
    kind: EventKind, *, operation: Operation, rows: QuerySet[RegisteredModel]
) -> None:
    """Record, before and with their deletion, one event for each of these lineages."""
    nothing = Cast(Value("{}"), JSONField())
    columns: Json = {
        "kind": Value(kind.value),
        "project_id": F("project_id"),
        "subject_type": Value("registeredmodel"),
        "subject_id": Cast("pk", CharField()),
        "subject_name": F("model_name"),
        "operation_id": Value(operation.pk, output_field=UUIDField()),
        "actor_label": Value(operation.actor_label),
        "origin": Value(operation.origin),
        "before": nothing,
        "after": nothing,
    }
    if operation.actor_id is not None:
        columns["actor_id"] = Value(operation.actor_id)
    outbox.record_selected(rows, columns)


def _columns_of(operation: Operation | None, subject: Subject | None) -> Json:
    columns = {name: getattr(operation, name) for name in _SHARED} if operation else {}
    return {"operation": operation, **columns, **(_about(subject) if subject else {})}


@contextmanager
def refusals_recorded(
    *, kind: OperationKind, subject: Subject, actor: Actor, now: datetime, reason: str = ""
) -> Iterator[None]:
    """Record what is refused inside; the refused transaction itself is rolled back."""
    try:
        yield
    except PlatformError as error:
        record_refusal(kind=kind, subject=subject, actor=actor, now=now, error=error, reason=reason)
        raise


_SHARED = (
    "project_id", "subject_type", "subject_id", "subject_name", "lineage_id",
    "actor_id", "actor_label", "origin",
)  # fmt: skip
"""Columns that an event has from its operation."""


def _columns(subject: Subject, actor: Actor) -> Json:
    locks = {"lineage_key": subject.lineage_key, "service_key": subject.service_key}
    return {**_about(subject), **locks, **_by(actor)}


def _about(subject: Subject) -> Json:
    return {
        "project_id": subject.project_id,
        "subject_type": subject.type,
        "subject_id": subject.id,
        "subject_name": subject.name,
        "lineage_id": subject.lineage.pk if subject.lineage else None,
    }


def _by(actor: Actor) -> Json:
    return {"actor_id": actor.user_id, "actor_label": actor.label, "origin": actor.origin}
