"""The definition of an action, and the one function that performs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.utils.module_loading import import_string

from ml_platform.errors import PlatformError
from ml_platform.models import Operation
from ml_platform.services.access.rights import Right, right_missing
from ml_platform.services.operations.history import refusals_recorded
from ml_platform.services.operations.store import Subject
from ml_platform.services.operations.workflow import Workflow
from ml_platform.services.projects.archive import project_archived
from ml_platform.services.projects.host_model import project_id_of

from .caller import Caller

S = TypeVar("S")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(Generic[S, R]):
    """One request that a user may make: from a page, the API or a command."""

    name: str
    """Its slug in the URLs of buttons."""
    right: Right | Callable[[S], Right]
    find: Callable[[Caller, Any], S]
    """Find the subject of a key among those that the caller sees."""
    run: Callable[[Any, Any, Caller], R]
    """Perform it with the facts and the input."""
    facts: Callable[[Sequence[S], Any, Caller], Sequence[Any]] = lambda subjects, _, __: subjects
    """Read what the decision needs for a whole page of subjects, in one batch of statements. By
    default that is the subjects themselves. Subjects that the input names must be visible to the
    caller."""
    require: Callable[[Any], object] = lambda _: None
    """Raise the reason why the facts do not allow it, without a query or a call to Google. By
    default only its service checks."""
    begins: bool | Callable[[S], bool] = False
    """Whether it begins something, which an archived project refuses."""
    is_repeated: Callable[[Any], bool] = lambda _: False
    """Whether it was requested before, so that its service answers with the earlier operation."""
    input: str = ""
    """The name of its model in `inputs`, which is imported at first use; '' if it has none."""
    on_page: bool = True
    """Whether pages have a button for it, which posts to its slug."""
    history: Callable[[Any], tuple[Workflow, Subject]] | None = None
    """The workflow and the subject of a refusal in the history, by the facts; None records none."""

    def right_for(self, subject: S) -> Right:
        """The right that this subject needs."""
        return self.right if isinstance(self.right, Right) else self.right(subject)

    def refusal(
        self, caller: Caller, subject: S, facts: object | None = None
    ) -> PlatformError | None:
        """Why the caller cannot do it now, or None; with `facts` there is no query."""
        right = self.right_for(subject)
        if not caller.has(right):
            return right_missing(right)
        try:
            self.require_open(subject, caller)
            self.require(self.facts([subject], None, caller)[0] if facts is None else facts)
        except PlatformError as error:
            return error
        return None

    def require_open(self, subject: S, caller: Caller) -> None:
        """Check that the action may begin what it does, in the project of its subject.

        :raises Conflict: the project is archived.
        """
        begins = self.begins if isinstance(self.begins, bool) else self.begins(subject)
        if begins and caller.is_archived(project_id_of(subject)):
            raise project_archived()

    def read(self, given: object) -> Any:
        """Validate the input: the fields of a form, or a body that the API has read.

        :raises InvalidInput: a field is missing or wrong.
        """
        if not isinstance(given, Mapping):
            return given
        read = import_string("ml_platform.actions.inputs.read")
        return read(self.input, given) if self.input else None


def perform(action: Action[S, R], key: object, given: object, caller: Caller) -> R:
    """Perform the action, or refuse it with the same message for pages, API and commands.

    :raises NotFound: the caller sees no such subject.
    :raises RightMissing: they lack the right.
    :raises PlatformError: the state does not allow it, or its service refuses it.
    """
    subject = action.find(caller, key)
    caller.require(action.right_for(subject))
    given = action.read(given)
    [facts] = action.facts([subject], given, caller)
    # With a known key the service repeats its answer, whatever the state of the subject.
    is_known = caller.key and Operation.objects.filter(idempotency_key=caller.key).exists()
    if not is_known and not action.is_repeated(facts):
        with _refusals_recorded(action, facts, given, caller):
            action.require_open(subject, caller)
            action.require(facts)
    return action.run(facts, given, caller)


def _refusals_recorded(
    action: Action[S, R], facts: object, given: object, caller: Caller
) -> AbstractContextManager[None]:
    if action.history is None:
        return nullcontext()
    workflow, subject = action.history(facts)
    return refusals_recorded(
        workflow=workflow,
        subject=subject,
        actor=caller.actor,
        now=caller.now(),
        reason=str(getattr(given, "reason", "")),
    )
