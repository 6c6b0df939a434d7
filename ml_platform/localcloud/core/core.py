"""What every service of the local cloud is built on, in one object."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from .access.iam import Iam
from .call_log import Effects
from .clock import Clock
from .faults.orders import Faults
from .interceptor import Gate, Quota, horizon
from .names import Names
from .operations import Operations
from .store import Store

_PLACES = "cloud.places"


class Core:
    """Clock, store, faults, effects, gate and operations of one cloud.

    `lock` is held by the gate around every call. A timer's function must take it itself, and must
    not hold it while it waits for another HTTP server.
    """

    def __init__(
        self,
        project: str,
        project_number: int,
        location: str,
        *,
        state: Path | None = None,
        projects: Mapping[str, int] | None = None,
        locations: Iterable[str] = (),
        lro_seconds: float = 0.0,
        quotas: bool = False,
    ) -> None:
        self.lock = threading.RLock()
        self.names = Names(project, project_number, location)
        self.names.declare(projects or {}, locations)
        self._declared = self.names.projects, self.names.locations
        self.clock = Clock(self.names.carried)
        self.faults = Faults()
        self.effects = Effects(self.clock.time)
        self.quota = Quota(self.clock.time, lambda: self.names.here, on=quotas)
        self.store = Store(state, self.clock.now, self.horizon, lambda: self.names.here)
        self._declare_again()
        self.iam = Iam(self.store, self.names)
        self.gate = Gate(
            self.effects,
            self.faults,
            self.quota,
            self.lock,
            self.names,
            self.iam.check,
            self.clock,
        )
        self.operations = Operations(
            self.store, self.clock, self.effects, self.lock, self.names, lro_seconds
        )

    def declare(self, projects: Mapping[str, int], locations: Iterable[str] = ()) -> None:
        """More projects (id to number) and locations, until `reset`; they survive a restart."""
        with self.lock:
            self.names.declare(projects, locations)
            added = {"projects": self.names.projects, "locations": self.names.locations}
            self.store.put(_PLACES, "declared", json.dumps(added).encode())

    def _declare_again(self) -> None:
        if (stored := self.store.get(_PLACES, "declared")) is not None:
            self.names.declare(**json.loads(stored))

    def horizon(self) -> float | None:
        """For reads of one's own tables: leave out what was born after this timestamp."""
        return horizon(self.clock.now)

    def reset(self) -> None:
        """Return to the initial state: nothing stored, ordered, recorded or due; real time."""
        self.faults.clear()
        with self.lock:
            self.clock.reset()
            self.store.reset()
            self.iam.reset()
            self.effects.reset()
            self.quota.reset()
            self.names.only(*self._declared)
