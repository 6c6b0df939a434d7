"""Between look and effect: an operation stops before a step, something happens, and it goes on.

A case is a generator. What it yields first is the operation, which is taken to the case's step;
then the case changes something, yields again, and the operation goes on to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_platform.models import Operation
from ml_platform.services.operations.engine import advance
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.services.world import settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud


@dataclass(frozen=True)
class World:
    """What a case changes: the cloud, the time, and rows."""

    cloud: LocalCloud
    clock: Any

    @property
    def changes(self) -> list[str]:
        """The changes that Google was asked for since `forget`."""
        return [call.method.rpartition(".")[2] for call in self.cloud.effects.mutations()]

    def forget(self) -> None:
        """From now on changes count."""
        self.cloud.effects.reset()


Body = Callable[[World], Generator[Operation | None, None, None]]


@dataclass(frozen=True)
class Case:
    """Something happens before one step of one operation."""

    step: str
    body: Body

    def play(self, world: World) -> None:
        """Open the operation, take it to the step, let it happen, let the operation end."""
        playing = self.body(world)
        operation = next(playing)
        assert operation is not None
        take_to(self.step, operation, world.clock)
        next(playing)
        settle(world.clock)
        assert list(playing) == []


CASES: dict[str, Case] = {}


def before(step: str) -> Callable[[Body], Body]:
    """A case that changes something right before this step."""

    def enter(body: Body) -> Body:
        assert body.__name__ not in CASES
        CASES[body.__name__] = Case(step, body)
        return body

    return enter


def take_to(step: str, operation: Operation, clock: Any) -> None:
    """Carry the operation on, step by step, until this one would be next."""
    for _ in range(60):
        operation.refresh_from_db()
        if operation.step == step:
            return
        if (
            advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=1) is None
            or operation.next_attempt_at
        ):
            clock.forward(60)
    raise AssertionError(
        f"{operation} does not come to {step}: {operation.steps} {operation.error}"
    )


def ended(operation: Operation, status: str, code: str = "") -> None:
    """Check how the operation ended."""
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == (status, code), operation.error
