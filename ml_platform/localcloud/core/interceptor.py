"""The interceptor of every call, gRPC and HTTP: records it, applies faults and quotas."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

import grpc

from .access.callers import caller_email
from .call_log import Call, Effects, Running, running, serving
from .clock import Clock
from .errors import CloudError
from .faults.orders import Fault, Faults, OnGone, strike_after, strike_before
from .names import Location, Names

T = TypeVar("T")
Check = Callable[[str, object, str, Mapping[str, str]], None]

_NAMED = (
    ("name",),
    ("parent",),
    ("endpoint",),
    *((part, "name") for part in ("model", "endpoint", "service", "job", "schedule")),
)
"""Where requests name their resource."""

_VERTEX = ("ModelService.", "PipelineService.", "EndpointService.", "ScheduleService.")
_LRO_METHODS = frozenset(
    {
        "ModelService.UploadModel",
        "ModelService.DeleteModel",
        "ModelService.DeleteModelVersion",
        "PipelineService.CreatePipelineJob",
        "PipelineService.DeletePipelineJob",
        "EndpointService.DeployModel",
    }
)
_MINUTE = timedelta(minutes=1)
# Calls a minute for a project and region (cloud.google.com/vertex-ai/docs/quotas).
QUOTAS = {"job_or_lro_submission_requests": 60, "resource_management_requests": 600}


class Quota:
    """Vertex's two quotas of a project and location over a minute of the Clock; off by default."""

    def __init__(
        self, now: Callable[[], datetime], here: Callable[[], Location], *, on: bool
    ) -> None:
        self.on = on
        self._now, self._here = now, here
        self._taken: dict[tuple[Location, str], deque[datetime]] = defaultdict(deque)
        self._lock = threading.Lock()

    def take(self, method: str) -> None:
        """Count a call; RESOURCE_EXHAUSTED when the minute is used up."""
        if not self.on or not method.startswith(_VERTEX):
            return
        lro = method in _LRO_METHODS
        metric = "job_or_lro_submission_requests" if lro else "resource_management_requests"
        with self._lock:
            now, taken = self._now(), self._taken[self._here(), metric]
            while taken and taken[0] <= now - _MINUTE:
                taken.popleft()
            if len(taken) >= QUOTAS[metric]:
                raise CloudError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"Quota exceeded for quota metric 'aiplatform.googleapis.com/{metric}' and "
                    f"limit '{QUOTAS[metric]} per minute per region'.",
                )
            taken.append(now)

    def reset(self) -> None:
        """A fresh minute."""
        with self._lock:
            self._taken.clear()


class Gate:
    """Record the call -> its caller's roles -> faults before -> quota -> do, under the cloud's lock
    -> faults after.
    """

    def __init__(
        self,
        effects: Effects,
        faults: Faults,
        quota: Quota,
        lock: threading.RLock,
        names: Names,
        check: Check,
        clock: Clock,
    ) -> None:
        self.effects, self.faults, self.quota, self.lock = effects, faults, quota, lock
        self.names, self._check, self._clock = names, check, clock

    def __call__(
        self,
        method: str,
        request: object,
        do: Callable[[], T],
        *,
        resource: str = "",
        reason: str = "",
        headers: Mapping[str, str] | None = None,
        parts: Mapping[str, str] | None = None,
        on_gone: OnGone | None = None,
        locked: bool = True,
    ) -> T:
        """Serve one call of `method`; `do` reports its changes by `effects.record(...)`.

        `headers` (or gRPC metadata, in lower case) say who calls; `parts` are what a call of
        storage names (bucket, name, project ...). `on_gone(fn)` has `fn` called when the client
        hangs up (it answers False if it already has). `locked=False` is for a `do` that waits: it
        must take `lock` itself where it works.
        """
        resource = resource or resource_of(request)
        call = self.effects.begin(method, resource, reason)
        place = self.names.place_of(resource) or self.names.default
        outcome = "UNKNOWN"
        try:
            with self.names.at(place):
                call.caller = caller_email(headers or {})
                with serving(Running(call)):
                    self._check(method, request, resource, parts or {})
                fired = self.faults.take(method)
                strike_before(fired, on_gone)
                self.quota.take(method)
                guard = self.lock if locked else contextlib.nullcontext()
                with self._clock.of(method), serving(_running(call, fired)), guard:
                    answer = do()
                outcome = strike_after(fired, on_gone)
        except CloudError as error:
            outcome = error.code.name
            raise
        else:
            return answer
        finally:
            call.outcome = outcome


def resource_of(request: object) -> str:
    """The resource of a request, as its client named it; '' when it names no resource."""
    for path in _NAMED:
        value: object = request
        for part in path:
            value = getattr(value, part, "")
        if isinstance(value, str) and value:
            return value
    resource = getattr(request, "resource", "")
    return resource if isinstance(resource, str) else ""


def horizon(now: Callable[[], datetime]) -> float | None:
    """The timestamp behind which the running call must not see births; None: it sees all."""
    run = running()
    if run is None or run.stale_seconds is None:
        return None
    return now().timestamp() - run.stale_seconds


def _running(call: Call, fired: list[Fault]) -> Running:
    late = sum(fault.seconds for fault in fired if fault.kind == "late")
    stale = [fault.seconds for fault in fired if fault.kind == "stale"]
    ends = next((fault for fault in fired if fault.kind in ("fails", "never")), None)
    return Running(call, late, max(stale) if stale else None, ends)
