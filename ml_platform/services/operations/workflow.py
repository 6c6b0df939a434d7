"""A workflow: its titles, its steps, the right it needs, and the changes at its end.

`services/workflows.py` is the closed table of all of them. It imports every package that has one,
so it is imported at first use here, where a workflow is looked up by an operation's slug.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from django.utils.module_loading import import_string

from ml_platform.errors import Invalid, PlatformError
from ml_platform.models import Operation
from ml_platform.models.states import FindingStatus, OperationKind, OperationStatus
from ml_platform.services.access.rights import Right

from .state import State, version_of
from .work import Json, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """The step is done. `change` runs in the transaction that records it."""

    note: str = ""
    change: Callable[[], None] | None = None
    to: str = ""
    """Name of the next step; empty for the one that follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue:
    """A part of the step is done; continue the step at once."""

    note: str = ""
    change: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """Google still works on it; read its state again after `seconds`.

    A step may do so for as long as its `patience`; then the operation fails.
    """

    seconds: float = 5.0
    note: str = ""


Outcome: TypeAlias = Next | Continue | Poll


class WaitEnded(PlatformError):
    """What was waited for did not happen in time; it may still happen."""

    code = "wait_ended"
    advice = "Check its outcome in Google Cloud, then retry: the operation first reads its state."


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One repeatable step: at most one remote effect; what it learnt is in `work.state`."""

    name: str
    title: str
    run: Callable[[Work[Any]], Outcome]
    probe: str = ""
    """For a step with an effect: the step that checks for the effect. It is taken before any second
    try and after a worker died in this one, because an effect that may have happened is looked for
    and not repeated (law 7)."""
    cancellable: bool = False
    """Whether the operation may end here on request: before the step, or instead of its outcome.
    Such a step has no remote effect."""
    back_to: str = ""
    """An earlier step to which the operation may return from this one in its normal course."""
    patience: timedelta = timedelta(hours=1)
    """How long it may poll. Every wait has an end, because the operation locks its model."""
    optional: bool = False
    """Run only when a step names it as the next; pages do not count it among the steps ahead."""


def written(entries: Sequence[Json], step: Step, now: datetime, **what: Any) -> list[Json]:
    """The history with this step's entry brought up to date; a step tried again stays one entry."""
    history = [dict(entry) for entry in entries]
    if not history or history[-1]["step"] != step.name or history[-1].get("status") == "done":
        history.append({"step": step.name, "title": step.title, "started_at": now.isoformat()})
    history[-1].update(what)
    if what.get("status") in ("done", "failed", "cancelled"):
        history[-1]["finished_at"] = now.isoformat()
    return history


def _unknown_step(name: str) -> Step:
    def refuse(work: Work[Any]) -> Outcome:
        raise Invalid(
            f"This release knows no step {name!r} of {title_of(work.operation)}.",
            code="unknown_step",
            advice="The operation was opened by another release. Open it again.",
        )

    return Step(name=name, title=name, run=refuse)


_CLAUSES: Mapping[str, str] = {
    OperationStatus.PENDING: "waits to {title}",
    OperationStatus.RUNNING: "began to {title}",
    OperationStatus.SUCCEEDED: "{past}",
    OperationStatus.FAILED: "could not {title}",
    OperationStatus.CANCELLED: "cancelled: {title}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """One program that changes something, or one change that needs a single transaction.

    The latter has no steps: it is recorded when it is done.
    """

    slug: str
    kind: OperationKind
    """What `Operation.kind` says for one more release."""
    title: str
    """What is wanted, as a verb in the imperative; `{}` is the subject's name: `Deploy {}`."""
    past: str
    """The same once it is done: `deployed {}`."""
    steps: tuple[Step, ...] = ()
    state: type[State] = State
    """The type of `work.state`, which its steps share."""
    right: Right | Callable[[Operation], Right] = Right.ADMINISTER
    """The right needed to retry or cancel it."""
    on_failure: Callable[[Work[Any], PlatformError], None] = lambda work, error: None
    on_cancel: Callable[[Work[Any]], None] = lambda work: None
    """Also called for an operation that waits and so does not hold its lineage: it may undo only
    what this operation marked itself."""
    require_retryable: Callable[[Operation], object] = lambda operation: None
    """Raises a Conflict when a retry can only fail, because its subject has ended."""

    def knows(self, step: str) -> bool:
        """Whether it has a step of that name."""
        return any(known.name == step for known in self.steps)

    def reads(self, operation: Operation) -> bool:
        """Whether this release can read the operation's stored state."""
        return version_of(operation.data) <= self.state.VERSION

    def load_state(self, work: Work[Any]) -> None:
        """Load the state from the operation's row."""
        work.state = self.state.load(work.operation.data)

    def step(self, name: str) -> Step:
        """The step of that name; an unknown name gives a step that fails."""
        return next((step for step in self.steps if step.name == name), _unknown_step(name))

    def is_probe(self, step: Step) -> bool:
        """Whether another step returns here after an error; a repeated pass is not progress."""
        return any(other.probe == step.name for other in self.steps)

    def after(self, step: Step) -> str:
        """Name of the step that follows, '' after the last."""
        names = [s.name for s in self.steps] + [""]
        return names[names.index(step.name) + 1]

    def ahead(self, step: str) -> tuple[Step, ...]:
        """The steps that may still be taken from this one on, itself included."""
        names = [known.name for known in self.steps]
        if step not in names:
            return ()
        start, found = names.index(step), len(names)
        while start < found:  # a step ahead may lead back to one that has steps before it ahead
            found = start
            loops = [names.index(s.back_to) for s in self.steps[start:] if s.back_to]
            start = min([start, *loops])
        return self.steps[start:]

    def clause(self, operation: Operation) -> str:
        """The clause that follows the actor's name: `could not deploy {}`."""
        succeeded = operation.status == OperationStatus.SUCCEEDED
        if succeeded and operation.data.get("ended_as") == FindingStatus.GONE:
            return "looked at {}: nothing to repair"
        title = self.title[:1].lower() + self.title[1:]
        words = "asked to {title}" if operation.was_refused else _CLAUSES[operation.status]
        return words.replace("{title}", title).replace("{past}", self.past)

    def planned(self, operation: Operation) -> tuple[Step, ...]:
        """The steps that a live operation has before it, its current one first."""
        names = self._usual_steps()
        at = operation.step
        ahead = names[names.index(at) + 1 :] if at in names else names
        left = [name for name in ahead if name not in _done(operation)]
        return tuple(self.step(name) for name in (at, *left) if self.knows(name))

    def progress(self, operation: Operation) -> tuple[int, int]:
        """How many steps of how many are done."""
        names, at = self._usual_steps(), operation.step
        passed = names.index(at) if at in names else 0
        return max(passed, len(_done(operation) & set(names) - {at})), len(names)

    def _usual_steps(self) -> list[str]:
        return [step.name for step in self.steps if not step.optional]


def _done(operation: Operation) -> set[str]:
    return {str(e.get("step")) for e in operation.steps if e.get("status") == "done"}


def workflows() -> Mapping[str, Workflow]:
    """The table of all workflows by their slugs."""
    table: Mapping[str, Workflow] = import_string("ml_platform.services.workflows.WORKFLOWS")
    return table


def slug_of(operation: Operation) -> str:
    """The workflow's slug. The release before opens operations without one until it is gone."""
    if operation.workflow:
        return operation.workflow
    module = "ml_platform.migrations.0003_operation_workflow"
    return str(import_string(f"{module}.slug_of")(operation))


def workflow_of(operation: Operation) -> Workflow:
    """The operation's workflow; one of another release has only its words."""
    slug = slug_of(operation)
    return workflows().get(slug) or unknown_workflow(slug)


def unknown_workflow(slug: str) -> Workflow:
    """The placeholder for a workflow that this release does not have; it cannot run."""
    words = slug.replace("-", " ")
    return Workflow(
        slug=slug,
        kind=OperationKind.REPAIR,
        title=f"{words.capitalize()} {{}}",
        past=f"{words} {{}}",
    )


def title_of(operation: Operation) -> str:
    """What the operation is for, in words: `Deploy chern_rank v3`."""
    return workflow_of(operation).title.replace("{}", operation.subject_name)
