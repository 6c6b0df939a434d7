"""What the demo's stories are played on: a project, a cloud, and its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

from ml_platform.localcloud import LocalCloud
from ml_platform.models import Project
from ml_platform.services.operations.store import Actor

TRAINING = timedelta(hours=2, minutes=12)
"""How long a run takes."""


@dataclass(slots=True)
class Stage:
    """What the incident is played on; what happens on Google Cloud waits for its turn in time."""

    cloud: LocalCloud
    project: Project
    actor: Actor
    now: datetime
    scenes: list[tuple[datetime, int, Callable[[], object]]] = field(default_factory=list)
    _number: count[int] = field(default_factory=count)

    def ago(self, days: float) -> datetime:
        """The moment so many days before now."""
        return self.now - timedelta(days=days)

    def at(self, moment: datetime, act: Callable[[], object]) -> None:
        """Have something happen on Google Cloud at that time."""
        self.scenes.append((moment, next(self._number), act))

    def play(self) -> None:
        """Let it all happen, each at its own time by the cloud's clock, which then is back."""
        for moment, _, act in sorted(self.scenes):
            self.cloud.clock.set(moment)
            act()
        self.cloud.clock.set(datetime.now(UTC))
