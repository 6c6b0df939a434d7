"""Protected aliases: the version that people call champion is not deleted without a word."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Absent, Present, ask
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.types import RemoteModel
from ml_platform.conf import get_settings
from ml_platform.errors import CloudUnavailable, Conflict
from ml_platform.models import TrainingRun
from ml_platform.services.access.rights import Right, RightMissing


class ProtectedAlias(Conflict):
    """The version holds an alias that PROTECTED_ALIASES names."""

    code = "protected_alias"
    advice = "Move or remove the alias first."


def protected_of(aliases: Collection[str]) -> list[str]:
    """Those of the aliases that are protected, in the order of the setting."""
    return [alias for alias in get_settings().PROTECTED_ALIASES if alias in aliases]


def why_protected(what: str, aliases: Collection[str]) -> str:
    """Why the version may not be deleted, '' when none of its aliases stands against it."""
    held = protected_of(aliases)
    return f"{what} holds the protected alias {', '.join(held)}." if held else ""


def require_unprotected(what: str, aliases: Collection[str]) -> None:
    """Refuse to delete a version that holds a protected alias.

    :raises ProtectedAlias: it does.
    """
    if why := why_protected(what, aliases):
        raise ProtectedAlias(why)


def require_all_unprotected(versions: Iterable[RemoteModel]) -> None:
    """The same for versions as Vertex AI shows them: people set aliases in its console too.

    :raises ProtectedAlias: one holds one.
    """
    for version in versions:
        require_unprotected(f"{version.name.model_id}@{version.version}", version.aliases)


# ---- who may move one ----------------------------------------------------------------------------


def changed_of(change: Sequence[str]) -> list[str]:
    """The protected aliases that a change, as Vertex AI wants it, gives or takes away."""
    return protected_of({alias.removeprefix("-") for alias in change})


def require_unmoved(run: TrainingRun, change: Sequence[str]) -> None:
    """Refuse a change that takes a protected alias from a version that has it, by our rows.

    :raises RightMissing: it would.
    """
    siblings = TrainingRun.objects.versions().filter(registered_model=run.registered_model_id)
    elsewhere = {
        alias
        for aliases in siblings.exclude(pk=run.pk).values_list("aliases", flat=True)
        for alias in aliases
    }
    for alias in changed_of(change):
        if f"-{alias}" in change and alias in run.aliases:
            raise _right_missing(f"{run.model_name} v{run.version}", alias)
        if alias in change and alias in elsewhere:
            raise _right_missing("Another version", alias)


def require_unmoved_now(version: RemoteModel, change: Sequence[str]) -> None:
    """The same by what Vertex AI says now.

    :raises RightMissing: it would.
    :raises CloudUnavailable: Vertex AI does not say who has it.
    """
    for alias in changed_of(change):
        holds = alias in version.aliases
        if f"-{alias}" in change and holds:
            raise _right_missing(str(version.pointer), alias)
        if alias in change and not holds and (holder := _holder(version.name.at(alias))):
            raise _right_missing(str(holder), alias)


def _holder(name: ModelName) -> ModelName | None:
    answer = ask(partial(vertex.get_model, name))
    if isinstance(answer, Present):
        return answer.value.pointer
    if isinstance(answer, Absent):
        return None
    raise CloudUnavailable(answer.reason, code=answer.code)


def _right_missing(holder: str, alias: str) -> RightMissing:
    return RightMissing(
        f"{holder} has the protected alias {alias}. To move or remove it needs the permission "
        f"{Right.ADMINISTER}.",
        advice="Ask an administrator to move it.",
    )
