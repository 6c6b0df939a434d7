"""The record of every change across planes: open it, claim it, commit its steps, end it.

A row holds the intent, the lock and the step to resume at. A worker claims it by compare-and-set
and gets a lease and a fence. Its later commits count only while the fence is still its own.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.db import IntegrityError
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce, Least

from ml_platform.errors import Conflict
from ml_platform.models import Operation, RegisteredModel
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_rows
from ml_platform.models.states import PERSON_NAME, EventKind, OperationStatus

from .state import State
from .work import Clock, Json, Work, lease_end, record_change
from .workflow import Workflow, title_of

FURTHEST = timedelta(hours=1)
"""The engine writes no time of a next attempt that is further ahead, and no longer lease."""


class Busy(Conflict):
    """Another operation holds the lineage or the service.

    The message is stored in the history of the requesting project, so it names nothing outside
    that project. Pages and the API show `holder` only to users who see its project.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who requests a change, and through what: page, api, command, scheduler or worker."""

    label: str
    """The name that the history keeps, cut to PERSON_NAME characters."""
    origin: str
    user_id: Any = None

    def __post_init__(self) -> None:
        if len(self.label) > PERSON_NAME:
            object.__setattr__(self, "label", f"{self.label[: PERSON_NAME - 1]}…")

    @property
    def columns(self) -> Json:
        """The columns of an operation or event that name the actor."""
        return {"actor_id": self.user_id, "actor_label": self.label, "origin": self.origin}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The subject of an operation, with its name, which outlives the subject's row."""

    type: str
    id: str
    name: str
    project_id: Any = None
    lineage: RegisteredModel | None = None
    lineage_key: str = ""
    service_key: str = ""

    @property
    def columns(self) -> Json:
        """The columns of an operation or event that name the subject."""
        return {
            "project_id": self.project_id,
            "subject_type": self.type,
            "subject_id": self.id,
            "subject_name": self.name,
            "lineage_id": self.lineage.pk if self.lineage else None,
        }


def lineage_key(*, project_id: Any, model_name: str) -> str:
    """The key of the lock on a lineage; a name, so that the lock can precede the row."""
    return f"{project_id}:{model_name}"


def digest(request: Json) -> str:
    """Fingerprint of a request, to distinguish a repetition from a different request."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()


def open_operation(
    *,
    workflow: Workflow,
    subject: Subject,
    actor: Actor,
    now: datetime,
    state: State | None = None,
    reason: str = "",
    idempotency_key: str = "",
    request: Json | None = None,
    queue: bool = False,
) -> tuple[Operation, bool]:
    """Commit the intent, at the workflow's first step; returns the operation and whether it is new.

    With `queue` it waits until its lineage is free; without, it takes the lock now.
    Call inside a transaction that also writes the rows that the intent marks.

    :raises Busy: the lock is held; the message names a holder of the same project.
    :raises KeyReused: the key was used for a different request.
    """
    operation = Operation(
        status=OperationStatus.PENDING if queue else OperationStatus.RUNNING,
        **columns_of(workflow, subject, actor),
        idempotency_key=idempotency_key or None,
        request_digest=digest(request or {}),
        reason=reason,
        step=workflow.steps[0].name,
        data=(state or workflow.state()).dump(),
        created_at=now,
        started_at=None if queue else now,
    )
    with atomic():
        # A known key or a lock that is held is an answer, so the database's log has no error.
        Operation.objects.bulk_create([operation], ignore_conflicts=True)
        if opened := Operation.objects.filter(pk=operation.pk).first():
            record_change(EventKind.OPERATION_STARTED, opened)
            return opened, True
    if known := answered_before(idempotency_key=idempotency_key, request=request or {}):
        return known, False
    raise _busy(subject)


def answered_before(*, idempotency_key: str, request: Json) -> Operation | None:
    """The operation that this same request opened before, if any; read before any other check.

    :raises KeyReused: the key was used for a different request.
    """
    same_key = Operation.objects.filter(idempotency_key=idempotency_key)
    known = same_key.first() if idempotency_key else None
    if known and known.request_digest != digest(request):
        raise KeyReused(f"The idempotency key {idempotency_key} was used for a different request.")
    return known


def _busy(subject: Subject) -> Busy:
    found = list(holders(lineages=[subject.lineage_key], services=[subject.service_key]))
    # Different operations may hold the lineage and the service; name one of this project.
    holder = min(found, key=lambda one: one.project_id != subject.project_id, default=None)
    if holder is None:
        return Busy(f"{subject.name} was busy a moment ago.", advice="Try again now.")
    words = f"{subject.name} {held_by(holder, project_id=subject.project_id)}"
    return Busy(words, holder=holder)


def holders(*, lineages: Collection[str], services: Collection[str]) -> QuerySet[Operation]:
    """The operations that hold one of these locks now."""
    held = Q(lineage_key__in=[key for key in lineages if key])
    held |= Q(service_key__in=[key for key in services if key])
    return Operation.objects.filter(held, status=OperationStatus.RUNNING)


def held_by(holder: Operation, *, project_id: Any) -> str:
    """`is held by Deploy test-v1-rank, which ana began on 8 Feb 2026 at 12:03 UTC.`

    That project's members read it, so it names no other tenant's operation or person (law 10).
    """
    if holder.project_id != project_id:
        return "is held by an operation outside its project."
    begun = holder.started_at or holder.created_at
    return (
        f"is held by {title_of(holder)}, which "
        f"{holder.actor_label} began on {begun.day} {begun:%b %Y at %H:%M} UTC."
    )


def claim(*, operation_id: uuid.UUID, clock: Clock) -> Work[Any] | None:
    """Claim the operation if it is due and free; None if it is not, or its lineage is locked."""
    now = clock()
    before = due_one(operation_id=operation_id, now=now)
    if before is None:
        return None
    ready = at_hand(now) if before.status == OperationStatus.RUNNING else due(now)
    try:
        with atomic():
            _queue_up(before)
            claimed = ready.filter(pk=operation_id, fence=before.fence).update(
                status=OperationStatus.RUNNING,
                fence=F("fence") + 1,
                lease_until=lease_end(now),
                started_at=Least(Coalesce(F("started_at"), now), now),
                next_attempt_at=None,
            )
    except IntegrityError:
        return None  # a request has taken the lock at this moment
    if not claimed:
        return None
    operation = Operation.objects.get(pk=operation_id)
    return Work(
        operation,
        before.fence + 1,
        clock,
        lease_end(now),
        remote_operation=operation.remote_operation,
        after_crash=before.lease_until is not None,
    )


def _queue_up(operation: Operation) -> None:
    """Wait for other claims of its locks, which lock the same rows: this one then sees that they
    are held. Without this, each would meet the constraint."""
    locks = ("lineage_key", "service_key")
    keys = {lock: key for lock in locks if (key := getattr(operation, lock))}
    if operation.status == OperationStatus.PENDING and keys:
        rivals = Operation.objects.filter(status=OperationStatus.PENDING)
        lock_rows(rivals.filter(Q(**keys, _connector=Q.OR)))


def due(now: datetime, ahead: datetime | None = None) -> QuerySet[Operation]:
    """Live operations that no worker holds, whose time has come and whose locks are free."""
    return at_hand(now, ahead).filter(_locks_are_free())


def furthest(now: datetime) -> datetime:
    """The furthest time that the engine writes."""
    return lease_end(now) + FURTHEST


def at_hand(now: datetime, ahead: datetime | None = None) -> QuerySet[Operation]:
    """Live operations that no worker holds and whose time has come, whoever has their locks.

    A time further `ahead` than the engine writes is of a clock that was ahead, and counts as come.
    """
    ahead = ahead or furthest(now)
    return Operation.objects.live().filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=now) | Q(lease_until__gt=ahead),
        Q(next_attempt_at__isnull=True)
        | Q(next_attempt_at__lte=now)
        | Q(next_attempt_at__gt=ahead),
    )


@cache
def _locks_are_free() -> Q:
    """A running operation has its locks; one that waits must find no other that has them.

    Kept, since building it costs as much as asking the database.
    """
    running = Operation.objects.filter(status=OperationStatus.RUNNING)
    held = [
        Exists(running.filter(~Q(**{lock: ""}), **{lock: OuterRef(lock)}))
        for lock in ("lineage_key", "service_key")
    ]
    return Q(status=OperationStatus.RUNNING) | ~(held[0] | held[1])


def due_one(*, operation_id: uuid.UUID, now: datetime) -> Operation | None:
    """The operation, if it is due; one that runs has its locks, so they are not asked for."""
    operation = at_hand(now).filter(pk=operation_id).first()
    if operation is None or operation.status == OperationStatus.RUNNING:
        return operation
    return operation if due(now).filter(pk=operation_id).exists() else None


def due_operations(*, now: datetime, limit: int = 1000) -> list[uuid.UUID]:
    """The due operations, oldest first."""
    return list(due(now).order_by("created_at").values_list("pk", flat=True)[:limit])


def columns_of(workflow: Workflow, subject: Subject, actor: Actor) -> Json:
    """The columns of a new operation."""
    locks = {"lineage_key": subject.lineage_key, "service_key": subject.service_key}
    words = {"workflow": workflow.slug, "kind": workflow.kind}
    return {**words, **subject.columns, **locks, **actor.columns}
