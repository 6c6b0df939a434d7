"""The interceptor of every call, gRPC and HTTP: records it, applies faults and quotas."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

import grpc

from .call_log import Effects, Running, running, serving
from .errors import CloudError
from .faults import Fault, Faults, OnGone, strike_after, strike_before

T = TypeVar("T")

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
# Where requests name their resource.
_NAMED = (
    ("name",),
    ("parent",),
    ("endpoint",),
    *((part, "name") for part in ("model", "endpoint", "schedule", "service", "job")),
)
_MINUTE = timedelta(minutes=1)
# Calls a minute for a project and region (cloud.google.com/vertex-ai/docs/quotas).
QUOTAS = {"job_or_lro_submission_requests": 60, "resource_management_requests": 600}


class Quota:
    """Vertex's two quotas over a sliding minute of the Clock; off by default."""

    def __init__(self, now: Callable[[], datetime], *, on: bool) -> None:
        self.on = on
        self._now = now
        self._taken: dict[str, deque[datetime]] = {metric: deque() for metric in QUOTAS}
        self._lock = threading.Lock()

    def take(self, method: str) -> None:
        """Count a call; RESOURCE_EXHAUSTED when the minute is used up."""
        if not self.on or not method.startswith(_VERTEX):
            return
        lro = method in _LRO_METHODS
        metric = "job_or_lro_submission_requests" if lro else "resource_management_requests"
        with self._lock:
            now, taken = self._now(), self._taken[metric]
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
            for taken in self._taken.values():
                taken.clear()


class Gate:
    """record the call -> faults before -> quota -> do (under the cloud's lock) -> faults after."""

    def __init__(
        self, effects: Effects, faults: Faults, quota: Quota, lock: threading.RLock
    ) -> None:
        self.effects, self.faults, self.quota, self.lock = effects, faults, quota, lock

    def __call__(
        self,
        method: str,
        request: object,
        do: Callable[[], T],
        *,
        resource: str = "",
        reason: str = "",
        on_gone: OnGone | None = None,
        locked: bool = True,
    ) -> T:
        """Serve one call of `method`; `do` reports its changes by `effects.record(...)`.

        `on_gone(fn)` has `fn` called when the client hangs up (it answers False if it already
        has). `locked=False` is for a `do` that waits: it must take `lock` itself where it works.
        """
        call = self.effects.begin(method, resource or resource_of(request), reason)
        outcome = "UNKNOWN"
        try:
            fired = self.faults.take(method)
            strike_before(fired, on_gone)
            self.quota.take(method)
            guard = self.lock if locked else contextlib.nullcontext()
            with serving(Running(call, *_wishes(fired))), guard:
                answer = do()
            strike_after(fired, on_gone)
        except CloudError as error:
            outcome = error.code.name
            raise
        else:
            outcome = "OK"
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


def _wishes(fired: list[Fault]) -> tuple[float, float | None]:
    late = sum(fault.seconds for fault in fired if fault.kind == "late")
    stale = [fault.seconds for fault in fired if fault.kind == "stale"]
    return late, max(stale) if stale else None
