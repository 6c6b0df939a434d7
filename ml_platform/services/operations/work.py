"""An operation that a worker has claimed, and how the worker commits its outcomes."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeAlias, TypeVar, cast

from ml_platform.conf import get_settings
from ml_platform.errors import PlatformError, storable
from ml_platform.models import Event, Operation
from ml_platform.models.database import atomic, write_connection
from ml_platform.models.states import EventKind, OperationStatus
from ml_platform.services.events import outbox

from .state import State

S = TypeVar("S", bound=State)

log = logging.getLogger("ml_platform.operations")
Clock: TypeAlias = Callable[[], datetime]
Heartbeat: TypeAlias = Callable[[], None]
"""Called between the reads of a long step, as `Work.renew_lease`."""
Json: TypeAlias = dict[str, Any]


_ENDS = {
    OperationStatus.SUCCEEDED: EventKind.OPERATION_SUCCEEDED,
    OperationStatus.FAILED: EventKind.OPERATION_FAILED,
    OperationStatus.CANCELLED: EventKind.OPERATION_CANCELLED,
}
_FAILURE = ("error_code", "error", "advice")
_SHARED = (
    "project_id", "subject_type", "subject_id", "subject_name", "lineage_id",
    "actor_id", "actor_label", "origin",
)  # fmt: skip
"""Columns that an event has from its operation."""


class LeaseLost(Exception):
    """Another worker has claimed the operation; this one's last outcome is not recorded."""


class DatabaseFailed(PlatformError):
    """The database has failed under a step for as long as an operation may take."""

    code = "database_failed"
    advice = "Check the database, then retry the operation. It first reads what was done."


@dataclass(slots=True)
class Work(Generic[S]):
    """An operation that this worker has claimed.

    A step that learns something replaces the state: `work.state = replace(work.state, etag=etag)`.
    It is stored with the step's outcome.
    """

    operation: Operation
    fence: int
    clock: Clock
    lease_until: datetime
    remote_operation: str = ""
    """Name of the last operation started at Google, so that another worker can continue it."""
    after_crash: bool = False
    """Whether the worker before this one died while it held the operation."""
    state: S = field(init=False)
    """Read as any workflow's until the engine loads it as that of its own."""
    retry_at: str = ""
    """Set by a workflow's `on_failure`: the step where a retry starts; '' for the failed step."""

    def __post_init__(self) -> None:
        self.state = cast(S, State.load(self.operation.data))

    def require_lease(self) -> None:
        """Check that a call sent now is answered before another worker may claim the operation.

        :raises LeaseLost: this worker was held up for too long.
        """
        if self.clock() + timedelta(seconds=get_settings().CALL_TIMEOUT) > self.lease_until:
            raise LeaseLost(f"The lease of operation {self.operation.pk} is running out.")

    def age(self) -> timedelta:
        """Time since the operation started; none while a clock that was ahead says it will."""
        now = self.clock()
        return max(timedelta(0), now - (self.operation.started_at or now))

    def renew_lease(self) -> None:
        """Renew the lease during a step of many reads, once half of it has passed.

        :raises LeaseLost: another worker has claimed the operation.
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
        """Record an outcome and its changes of our tables in one transaction.

        State that `change` sets is stored with it, or rolled back with it.

        :raises LeaseLost: another worker has claimed the operation; no change was written.
        """
        now, before = self.clock(), self.state
        fields = {name: kept(value) for name, value in fields.items()}
        columns = {
            "lease_until": lease_end(now),
            "data": self._stored(),
            "remote_operation": self.remote_operation,
            **fields,
        }
        try:
            with atomic():
                self._write(columns)
                if change:
                    change()
                    fields |= self._write_what_changed(before)
                if kind := _ENDS.get(fields.get("status", "")):
                    self.operation.refresh_from_db(fields=["lineage"])  # the change may have set it
                    failure = {name: fields[name] for name in _FAILURE if fields.get(name)}
                    record_change(kind, self.operation, after=failure)
        except BaseException:
            self.state, self.retry_at = before, ""
            raise
        for name, value in fields.items():
            setattr(self.operation, name, value)
        self.lease_until = lease_end(now)
        self.operation.data = self._stored()

    def _write(self, columns: Json) -> None:
        mine = Operation.objects.filter(
            pk=self.operation.pk, fence=self.fence, status=OperationStatus.RUNNING
        )
        if not mine.update(**columns):
            raise LeaseLost(f"Operation {self.operation.pk} was claimed by another worker.")

    def _write_what_changed(self, before: S) -> Json:
        """Write the state and the step that the change has set."""
        columns: Json = {"step": self.retry_at} if self.retry_at else {}
        if self.state is not before:
            columns["data"] = self._stored()
        if columns:
            Operation.objects.filter(pk=self.operation.pk).update(**columns)
        return columns

    def _stored(self) -> Json:
        stored: Json = kept(self.state.dump())
        return stored


def drop_connection() -> None:
    """Close a connection that may be broken, so that the next use opens another."""
    connection = write_connection()
    if not connection.in_atomic_block:
        connection.close()


def leave(operation_id: uuid.UUID, error: Exception) -> None:
    """Leave an operation unchanged when the database has failed, as if this worker had died.

    Nothing more is written; the worker that claims it after the lease first checks for effects.
    """
    drop_connection()
    log.warning(
        "The database failed under operation %s: %s. Nothing more was written; "
        "the operation continues once it is due.",
        operation_id,
        " ".join(str(error).split()) or type(error).__name__,
    )


def record_change(kind: EventKind, operation: Operation | None, **columns: Any) -> None:
    """Record the event of a change, in the transaction of the change; `columns` as `event_of`."""
    outbox.record([event_of(kind, operation, **columns)])


def event_of(
    kind: EventKind,
    operation: Operation | None,
    *,
    before: Json | None = None,
    after: Json | None = None,
    **columns: Any,
) -> Event:
    """An event with the subject and actor of the operation, unless `columns` says others."""
    shared = {name: getattr(operation, name) for name in _SHARED} if operation else {}
    states = {"before": kept(before or {}), "after": kept(after or {})}
    return Event(kind=kind, operation=operation, **shared | columns | states)


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
