"""Protected aliases: a version that holds one is not deleted, and only administrators move one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Present, Unknown, ask
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
    """The protected aliases among these, in the order of the setting."""
    return [alias for alias in get_settings().PROTECTED_ALIASES if alias in aliases]


def why_protected(what: str, aliases: Collection[str]) -> str:
    """Why the version may not be deleted; '' if none of its aliases is protected."""
    held = protected_of(aliases)
    return f"{what} holds the protected alias {', '.join(held)}." if held else ""


def require_all_unprotected(versions: Iterable[RemoteModel]) -> None:
    """Check versions as Vertex AI shows them, because people set aliases in its console too.

    :raises ProtectedAlias: one of them holds a protected alias.
    """
    for version in versions:
        if why := why_protected(f"{version.name.model_id}@{version.version}", version.aliases):
            raise ProtectedAlias(why)


# ---- who may move one ----------------------------------------------------------------------------


def changed_of(change: Sequence[str]) -> list[str]:
    """The protected aliases that a change adds or, with a minus, removes."""
    return protected_of({alias.removeprefix("-") for alias in change})


def require_unmoved(run: TrainingRun, change: Sequence[str]) -> None:
    """Check by our rows that a change takes no protected alias from a version.

    :raises RightMissing: it does.
    """
    versions = TrainingRun.objects.versions().filter(registered_model=run.registered_model_id)
    others = versions.exclude(pk=run.pk).values_list("aliases", flat=True)
    elsewhere = set(chain.from_iterable(others))
    for alias in changed_of(change):
        if f"-{alias}" in change and alias in run.aliases:
            raise _right_missing(f"{run.model_name} v{run.version}", alias)
        if alias in change and alias in elsewhere:
            raise _right_missing("Another version", alias)


def require_unmoved_now(version: RemoteModel, change: Sequence[str]) -> None:
    """Check the same by what Vertex AI answers now.

    :raises RightMissing: the change takes a protected alias from a version.
    :raises CloudUnavailable: Vertex AI did not answer which version has it.
    """
    for alias in changed_of(change):
        holds = alias in version.aliases
        if f"-{alias}" in change and holds:
            raise _right_missing(str(version.pointer), alias)
        if alias in change and not holds and (holder := _holder(version.name.at(alias))):
            raise _right_missing(str(holder), alias)


def _holder(name: ModelName) -> ModelName | None:
    answer = ask(lambda: vertex.get_model(name))
    if isinstance(answer, Unknown):
        raise CloudUnavailable(answer.reason, code=answer.code)
    return answer.value.pointer if isinstance(answer, Present) else None


def _right_missing(holder: str, alias: str) -> RightMissing:
    return RightMissing(
        f"{holder} has the protected alias {alias}. To move or remove it needs the permission "
        f"{Right.ADMINISTER}.",
        advice="Ask an administrator to move it.",
    )
