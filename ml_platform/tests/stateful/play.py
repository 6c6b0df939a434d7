"""A play: one world in which people, workers, Google and bad luck take turns, as its dice fall."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

from django.db import connection

from ml_platform.cloud.transport import channels
from ml_platform.cloud.transport.methods import METHODS
from ml_platform.errors import PlatformError
from ml_platform.services.operations.worker import resume_operations
from ml_platform.tests.boundaries import BrokenInvariant, watched

from .ground import UPLOAD_HORIZON
from .invariants import LAG, Judge

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

    from .world import World

T = TypeVar("T")
Rule = Callable[["Play"], None]
PLANES = {
    "Vertex AI": "ModelService.*",
    "Pipelines": "PipelineService.*",
    "Cloud Run": "Services.*",
    "Cloud Storage": "storage.*",
    "Scheduler": "CloudScheduler.*",
    "operations": "Operations.*",
}
OFTEN = ("Vertex AI", "Cloud Run")
"""The planes whose answers decide what is destroyed break three times as often."""
OUTAGES = ("PERMISSION_DENIED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE")
"""Twice the one that is most easily taken for absence."""
REFUSALS = (*OUTAGES[1:], "INTERNAL", "DEADLINE_EXCEEDED", "ABORTED")
LOSSES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "CANCELLED")
STALE = ("ModelService.Get*", "ModelService.List*", "Services.Get*", "Services.List*")


class Crash(BaseException):
    """The process dies here: nothing of it may handle this."""


@contextmanager
def small_pages(cloud: LocalCloud, size: int) -> Iterator[None]:
    """Google may answer with fewer than were asked for: pages of `size`, 0 for as many as asked.
    Cloud Storage begins with an empty one."""
    pages = channels.rpc_pages

    def few(method: str, request: dict[str, Any], *read: Any) -> Iterator[Any]:
        return pages(method, {**request, "page_size": size or request["page_size"]}, *read)

    with (
        patch.object(channels, "rpc_pages", few),
        patch.object(cloud.storage, "thin_pages", size),
    ):
        yield


@contextmanager
def ids_of(dice: Random) -> Iterator[None]:
    """Have the dice make every id, so that one seed is one history."""
    bits = Random(dice.random())
    with patch.object(uuid, "os", SimpleNamespace(urandom=bits.randbytes)):
        yield


@dataclass(slots=True)
class Luck:
    """How often a call meets what, drawn anew for each history."""

    refused: float = 0.0
    lost: float = 0.0
    crash: float = 0.0
    meanwhile: float = 0.0

    @classmethod
    def draw(cls, dice: Random) -> Luck:
        """A mix in which some kinds of trouble do not come at all."""
        return cls(
            refused=dice.choice([0, 0.05, 0.1, 0.3]),
            lost=dice.choice([0, 0.1, 0.3, 0.5]),
            crash=dice.choice([0, 0.01, 0.03, 0.06]),
            meanwhile=dice.choice([0, 0.05, 0.1, 0.2]),
        )


@dataclass
class Play:
    """What is going on, and what must be known of it afterwards."""

    world: World
    dice: Random
    judge: Judge
    luck: Luck = field(default_factory=Luck)
    meanwhile: tuple[Rule, ...] = ()
    """What another process may do between a step's last COMMIT and its call."""
    watch: Callable[[Play], list[str]] = lambda _: []
    """What is wrong after each turn."""
    told: list[str] = field(default_factory=list)
    """What happened, for people."""
    lagging: bool = False
    """Whether reads do not show what is young."""
    theirs: dict[str, bytes] = field(default_factory=dict)
    """What belongs to others, as it was when they made it."""
    made: list[tuple[type, int]] = field(default_factory=list)
    """Rows that a person asked for."""
    counts: dict[str, int] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    """What was in the files that people changed, by its checksum."""
    edited: dict[int, datetime] = field(default_factory=dict)
    """When people last changed files of a run, by its id."""
    held: set[str] = field(default_factory=set)
    """Objects that people have put a hold on."""
    relabelled: dict[tuple[str, str, float, str], dict[str, str]] = field(default_factory=dict)
    """The labels of versions before people replaced them."""
    unlabelled: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    """The uid and the labels of services before people replaced them."""
    fields: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """What people have set on services of ours: (service, its uid, field)."""
    strays_may_go: bool = False
    """A person asked us to delete what belongs to no run."""
    succeeded: set[Any] = field(default_factory=set)
    """Operations whose success was judged."""
    delayed: set[str] = field(default_factory=set)
    """Operations that another worker took over while their worker was stalled."""
    depth: int = 0

    def act(self, name: str, rule: Rule) -> None:
        """Take one turn; a refusal is an answer, a crash ends the turn.

        :raises BrokenInvariant: something happened that never may.
        """
        self.tell(name)
        try:
            rule(self)
        except Crash:
            self.tell("  the process dies")
            connection.close()
        except PlatformError as refusal:
            self.tell(f"  refused: {type(refusal).__name__}: {refusal}")
        self.judge.look()
        if wrong := [*self.judge.broken, *self.watch(self)]:
            raise BrokenInvariant("; ".join(wrong))

    def tell(self, what: str) -> None:
        """Write down what happens."""
        self.told.append("  " * self.depth + what)

    def count(self, what: str) -> None:
        """One more of these."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def pick(self, rows: Any) -> Any:
        """One of some rows, or None."""
        found = list(rows.order_by("pk"))
        return self.dice.choice(found) if found else None

    def happens(self, chance: float) -> bool:
        """Roll the dice."""
        return chance > 0 and self.dice.random() < chance

    @contextmanager
    def calm(self) -> Iterator[None]:
        """No bad luck inside."""
        kept, self.luck = self.luck, Luck()
        try:
            yield
        finally:
            self.luck = kept

    # ---- what a call may meet

    @contextmanager
    def staged(self) -> Iterator[None]:
        """Let this play's luck meet every call and COMMIT, and its dice make every id."""
        self.world.not_judged = self.judge.not_judged
        with watched(before=self._before, after=self._after), ids_of(self.dice):
            yield

    def _before(self, method: str) -> None:
        self.count("calls" if method != "COMMIT" else "commits")
        if self.happens(self.luck.crash / 2):
            self._die(f"before {method}")
        if method == "COMMIT":
            return
        if self.depth == 0 and self.meanwhile and self.happens(self.luck.meanwhile):
            self._meanwhile(method)
        if self.happens(self.luck.refused):
            self._order(method, "error", self.dice.choice(REFUSALS))
        elif not METHODS[method].is_read and self.happens(self.luck.lost):
            self._order(method, "lost", self.dice.choice(LOSSES))

    def _after(self, method: str) -> None:
        if self.happens(self.luck.crash / 2):
            self._die(f"after {method}")

    def _die(self, where: str) -> None:
        self.count("crashes")
        self.tell(f"  crash {where}")
        if connection.vendor == "postgresql":
            connection.close()  # as the server does; psycopg would stay inside its transaction
        raise Crash

    def _order(self, method: str, kind: Any, code: str) -> None:
        self.count("faults")
        self.tell(f"  {method}: {kind} {code}")
        glob = "storage.objects.delete" if method == "storage.batch" else method
        self.world.cloud.faults.order(glob, kind, code)

    def _meanwhile(self, method: str) -> None:
        self.count("meanwhile")
        self.depth += 1
        try:
            rule = self.dice.choice(self.meanwhile)
            self.tell(f"meanwhile, before {method}: {rule.__name__}")
            with self.calm():
                rule(self)
        except PlatformError as refusal:
            self.tell(f"refused: {refusal}")
        finally:
            self.depth -= 1

    # ---- lasting trouble

    def break_plane(self) -> None:
        """A plane answers every call with the same refusal, until it is healed."""
        name = self.dice.choice([*PLANES, *OFTEN, *OFTEN])
        code = self.dice.choice(OUTAGES)
        self.tell(f"  {name}: {code}")
        self.count("outages")
        self.world.cloud.faults.order(PLANES[name], "error", code, times=None)

    def lag(self) -> None:
        """Reads do not show what is younger than some seconds, until they are healed."""
        self.lagging = True
        seconds = self.dice.choice([5.0, LAG - 5])
        for glob in STALE:
            self.world.cloud.faults.order(glob, "stale", seconds=seconds, times=None)

    def heal(self) -> None:
        """Every plane answers again, and shows what is there."""
        self.lagging = False
        self.world.cloud.faults.clear()

    def slow(self) -> None:
        """Long-running operations take longer from now on, or no time at all."""
        seconds = self.dice.choice([0.0, 0.0, 7.0, 45.0, UPLOAD_HORIZON - 40.0])
        self.world.cloud.core.operations.lro_seconds = seconds

    def work(self) -> None:
        """Workers go on with what is due."""
        resume_operations(clock=self.world.now)

    def tick(self) -> None:
        """Time passes."""
        self.world.forward(self.dice.choice([1.0, 5.0, 31.0, 70.0, 300.0]))
