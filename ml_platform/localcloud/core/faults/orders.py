"""Misfortune on order: errors, lost or torn answers, delays, hangs, late effects, stale reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Literal, get_args

import grpc

from ..errors import CloudError
from . import torn

Kind = Literal["error", "lost", "delay", "hang", "late", "fails", "never", "stale"] | torn.Torn
When = Literal["before", "after"]
KINDS: tuple[str, ...] = (*get_args(get_args(Kind)[0]), *torn.TORN)
OnGone = Callable[[Callable[[], None]], object]


@dataclass(eq=False)
class Fault:
    """One order. It affects the `nth` matching call and `times - 1` more (None: until cleared).

    error: refused before it was done. lost: done, the answer lost. delay: `seconds` of real time,
    then it continues. hang: waits `when` (before or after its effect) until `release` or the client
    is gone. late: the long-running operation, and its effect, land `seconds` later on the Clock.
    fails: the call succeeds and its long-running operation ends in the error, without its effect or
    `when` after it. never: the operation does not end, without its effect or `when` after it.
    stale: a read omits resources that were created in the last `seconds`. Kinds of torn.TORN: an
    HTTP answer of a broken connection or a proxy, before the call is done or `when` after it.
    """

    method: str
    kind: Kind
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    message: str | None = None
    nth: int = 1
    times: int | None = 1
    seconds: float = 0.0
    when: When = "before"
    status: int = 0
    seen: int = 0
    hits: int = 0
    _released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """Let hung calls continue, future ones too."""
        self._released.set()

    def strikes(self, method: str) -> bool:
        """Count a call of `method`; True when this order means it."""
        if not fnmatchcase(method, self.method):
            return False
        self.seen += 1
        struck = self.nth <= self.seen and (self.times is None or self.seen < self.nth + self.times)
        self.hits += struck
        return struck

    def error(self) -> CloudError:
        """The error that the client receives."""
        return CloudError(self.code, self.message or f"Ordered fault: {self.kind}.")

    def pause(self) -> None:
        """Wait for `seconds` of real time, or until `release`."""
        self._released.wait(self.seconds)

    def hang(self, on_gone: OnGone | None) -> None:
        """Wait for `release`; raise CANCELLED when the client went away first."""
        done, gone = threading.Event(), threading.Event()

        def client_gone() -> None:
            gone.set()
            done.set()

        if on_gone is not None and on_gone(client_gone) is False:
            client_gone()
        while not (self._released.is_set() or done.wait(0.02)):
            pass
        if gone.is_set() and not self._released.is_set():
            raise CloudError(grpc.StatusCode.CANCELLED, "The client went away.")


class Faults:
    """The orders in force, oldest first."""

    def __init__(self) -> None:
        self._orders: list[Fault] = []
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def know(self, method: str) -> None:
        """Take orders for this method, which the cloud serves."""
        self._known.add(method)

    def order(
        self,
        method: str,
        kind: Kind = "error",
        code: str | grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
        message: str | None = None,
        *,
        nth: int = 1,
        times: int | None = 1,
        seconds: float = 0.0,
        when: When = "before",
        status: int = 0,
    ) -> Fault:
        """Order a fault for `method` (a glob).

        ValueError when the order makes no sense, or no method that is served matches.
        """
        self._require_match(method)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}.")
        torn.check(kind, status)
        if when not in get_args(When):
            raise ValueError(f"when must be before or after, not {when!r}.")
        if nth < 1 or (times is not None and times < 1) or seconds < 0:
            raise ValueError("nth and times start at 1 and seconds at 0.")
        if isinstance(code, str):
            if code not in grpc.StatusCode.__members__:
                raise ValueError(f"{code!r} is not a gRPC status code.")
            code = grpc.StatusCode[code]
        fault = Fault(method, kind, code, message, nth, times, seconds, when, status)
        with self._lock:
            self._orders.append(fault)
        return fault

    def _require_match(self, glob: str) -> None:
        if any(fnmatchcase(method, glob) for method in self._known):
            return
        near = get_close_matches(glob, sorted(self._known), cutoff=0.5)
        services = sorted({f"{method.rpartition('.')[0]}.*" for method in self._known})
        raise ValueError(
            f"No method matches {glob!r}. "
            + (f"Near it: {', '.join(near)}." if near else f"There are {', '.join(services)}.")
        )

    def orders(self) -> list[Fault]:
        """All orders in force."""
        with self._lock:
            return list(self._orders)

    def clear(self, method: str | None = None) -> None:
        """Withdraw all orders, or those given for exactly `method`; hung calls continue."""
        with self._lock:
            gone = [f for f in self._orders if method is None or f.method == method]
            self._orders = [f for f in self._orders if f not in gone]
        for fault in gone:
            fault.release()

    def take(self, method: str) -> list[Fault]:
        """The orders that strike this call."""
        with self._lock:
            return [fault for fault in self._orders if fault.strikes(method)]


def strike_before(fired: list[Fault], on_gone: OnGone | None) -> None:
    """What happens before the call is done."""
    for fault in fired:
        if fault.kind == "delay":
            time.sleep(fault.seconds)
        elif fault.kind == "hang" and fault.when == "before":
            fault.hang(on_gone)
        elif fault.kind == "error":
            raise fault.error()
        torn.strike(fault, done=False)


def strike_after(fired: list[Fault], on_gone: OnGone | None) -> str:
    """What happens once the call is done and before its answer is sent; answers its outcome."""
    outcome = "OK"
    for fault in fired:
        if fault.kind == "hang" and fault.when == "after":
            fault.hang(on_gone)
        elif fault.kind == "lost":
            raise fault.error()
        outcome = torn.strike(fault, done=True) or outcome
    return outcome
