"""Long-running operations: done at once, or later on the Clock, across restarts."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import grpc
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.message import Message

from .call_log import Call, Effects, Running, running, serving
from .clock import Clock
from .errors import CloudError, not_found
from .faults.orders import Fault
from .lists.pages import page
from .names import Names
from .store import Store

KIND = "operation"
_PENDING = "operation.pending"
Land = Callable[[bytes], Message]


class OperationFailed(CloudError):
    """Raised by a handler to end the operation in this error although its call succeeded."""


@dataclass(frozen=True)
class _Pending:
    land: str
    payload: str
    due: str
    method: str
    reason: str
    caller: str = ""


class Operations:
    """`google.longrunning.Operations` over the store.

    A service registers how each of its effects lands (`on("model.upload", fn)`) and starts an
    operation with the bytes that `fn` needs: so an effect that is due survives a restart.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        effects: Effects,
        lock: threading.RLock,
        names: Names,
        lro_seconds: float,
    ) -> None:
        self._names = names
        self._store, self._clock, self._effects, self._lock = store, clock, effects, lock
        self.lro_seconds = lro_seconds
        self._lands: dict[str, Land] = {}
        self._changed = threading.Condition()

    def on(self, kind: str, land: Land) -> None:
        """`land(payload)` does the effect and answers the operation's response message."""
        self._lands[kind] = land

    def start(
        self,
        kind: str,
        payload: bytes,
        *,
        name: str,
        metadata: Message | None = None,
        seconds: float | None = None,
    ) -> operations_pb2.Operation:
        """Start an operation called `name`; without a delay it takes effect at once.

        An effect that fails at once raises its CloudError from the call itself only when `land`
        is immediate; a late one ends in the operation's error, as Google's do.
        """
        run = running()
        wait = self.lro_seconds if seconds is None else seconds
        wait += run.late_seconds if run is not None else 0.0
        op = operations_pb2.Operation(name=name)
        if metadata is not None:
            op.metadata.Pack(metadata)
        if run is not None and run.ends is not None:
            return self._ended_otherwise(op, run.ends, lambda: self._lands[kind](payload))
        if wait <= 0:
            try:
                op.response.Pack(self._lands[kind](payload))
            except OperationFailed as error:
                op.error.CopyFrom(error.status())
            op.done = True
            self._save(op)
            return op
        due = self._clock.now() + timedelta(seconds=wait)
        call = Call(0, due, "") if run is None else run.call
        data = base64.b64encode(payload).decode()
        pending = _Pending(kind, data, due.isoformat(), call.method, call.reason, call.caller)
        self._save(op)
        self._store.put(_PENDING, name, json.dumps(asdict(pending)).encode())
        self._arm(name, due)
        return op

    def _ended_otherwise(
        self, op: operations_pb2.Operation, fault: Fault, land: Callable[[], Message]
    ) -> operations_pb2.Operation:
        """As ordered: it ends in an error or never, without its effect or after it.

        One that never ends has no pending effect, so that cancelling it changes nothing.
        """
        if fault.when == "after":
            land()
        if fault.kind == "fails":
            op.error.CopyFrom(fault.error().status())
            op.done = True
        self._save(op)
        return op

    def rearm(self) -> None:
        """After a restart: set the timers of everything still pending."""
        for name, blob in self._store.list(_PENDING):
            self._arm(name, datetime.fromisoformat(_Pending(**json.loads(blob)).due))

    def get_operation(self, request: operations_pb2.GetOperationRequest) -> Message:
        """NOT_FOUND for a name that was never given out."""
        return self._load(request.name)

    def list_operations(self, request: operations_pb2.ListOperationsRequest) -> Message:
        """All below `name`, a page at a time."""
        parsed = (
            (seq, operations_pb2.Operation.FromString(blob))
            for seq, blob in self._rows(request.name)
        )
        found, token = page(parsed, request)
        return operations_pb2.ListOperationsResponse(operations=found, next_page_token=token)

    def cancel_operation(self, request: operations_pb2.CancelOperationRequest) -> Message:
        """A pending effect never lands; an operation that is done stays as it is."""
        op = self._load(request.name)
        if self._store.delete(_PENDING, op.name):
            cancelled = CloudError(grpc.StatusCode.CANCELLED, "The operation was cancelled.")
            op.error.CopyFrom(cancelled.status())
            op.done = True
            self._effects.record(op.name)
            self._save(op)
        return empty_pb2.Empty()

    def delete_operation(self, request: operations_pb2.DeleteOperationRequest) -> Message:
        """Delete the operation's record; its effect happens anyway."""
        self._load(request.name)
        self._store.delete(KIND, request.name)
        self._effects.record(request.name)
        return empty_pb2.Empty()

    def wait_operation(self, request: operations_pb2.WaitOperationRequest) -> Message:
        """Answer when it is done, or after the (real) timeout with its current state."""
        timeout = request.timeout.ToTimedelta().total_seconds() or 10.0
        with self._changed:
            self._changed.wait_for(lambda: self._load(request.name).done, timeout)
        return self._load(request.name)

    def _rows(self, below: str) -> list[tuple[int, bytes]]:
        """In order; some services name their operations by the project's id, some by its number."""
        places = self._names.both_forms(below) if below else {""}
        prefixes = [f"{place}/" if place else "" for place in places]
        return sorted(
            (seq, blob) for prefix in prefixes for seq, _, blob in self._store.rows(KIND, prefix)
        )

    def _load(self, name: str) -> operations_pb2.Operation:
        blob = self._store.get(KIND, name)
        if blob is None:
            raise not_found(f"Operation {name} not found.")
        return operations_pb2.Operation.FromString(blob)

    def _save(self, op: operations_pb2.Operation) -> None:
        self._store.put(KIND, op.name, op.SerializeToString())
        with self._changed:
            self._changed.notify_all()

    def _arm(self, name: str, due: datetime) -> None:
        self._clock.call_at(due, _key(name), lambda: self._land(name))

    def _land(self, name: str) -> None:
        with self._lock:
            blob = self._store.get(_PENDING, name)
            if blob is None:
                return
            pending = _Pending(**json.loads(blob))
            self._store.delete(_PENDING, name)
            op = self._landed(name, pending)
            if self._store.get(KIND, name) is not None:
                self._save(op)

    def _landed(self, name: str, pending: _Pending) -> operations_pb2.Operation:
        stored = self._store.get(KIND, name)
        op = operations_pb2.Operation.FromString(stored or b"")
        call = Call(0, self._clock.now(), pending.method, name, reason=pending.reason)
        call.caller = pending.caller
        op.done = True
        with self._clock.of(pending.method), serving(Running(call)):
            try:
                op.response.Pack(self._lands[pending.land](base64.b64decode(pending.payload)))
            except CloudError as error:
                op.error.CopyFrom(error.status())
        return op


def _key(name: str) -> str:
    return f"operation:{name}"
