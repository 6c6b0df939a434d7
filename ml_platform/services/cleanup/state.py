"""What the steps of an artifact cleanup hand on, and what Cloud Storage refused to delete.

An object that cannot be deleted is reported and skipped, so that the others are still deleted
(law 14).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ml_platform.models import Operation
from ml_platform.services.artifacts.folders import Chunk, Size, human_size
from ml_platform.services.operations.log import LoggedState, WriteLine, logged, write_lines
from ml_platform.services.operations.work import Work
from ml_platform.services.removal import refused
from ml_platform.text import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactState(LoggedState):
    """What the steps of an artifact cleanup hand on."""

    days: int = 0
    ended_before: str = ""
    include_registered: bool = False
    delete_strays: bool = False
    after: int = 0
    """The id of the last run that was considered."""
    doomed: tuple[tuple[int, str], ...] = ()
    """Ids of the marked runs, with the artifacts path that each had."""
    runs: int = 0
    kept: int = 0
    freed: tuple[int, int] = (0, 0)
    """Objects and bytes deleted so far."""
    refused: Mapping[str, Any] = field(default_factory=dict)
    """The current folder: where to continue, and what could not be deleted."""
    refused_in_all: Mapping[str, int] = field(default_factory=dict)
    """How many objects could not be deleted, by folder."""
    strays: tuple[str, ...] = ()
    """The first folders and objects that belong to no run."""
    strays_found: int = 0
    strays_unknown: str = ""
    """Why the files that belong to no run are unknown, '' if they are known."""
    strays_left: tuple[str, ...] = ()
    """Strays that are still to be deleted, quoted."""
    strays_judged: str = ""
    """The stray whose deletion has started: it is not checked again."""
    strays_deleted: int = 0

    @property
    def refusals(self) -> str:
        """How many objects could not be deleted, '' for none."""
        count = sum(self.refused_in_all.values())
        return f"{counted(count, 'object')} may not be deleted" if count else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactCleanup(ArtifactState):
    """What a cleanup did so far; without an operation: what it would do."""

    operation: Operation | None = None

    @property
    def summary(self) -> str:
        """The result in a sentence, for the job's report."""
        done = "Would delete" if self.operation is None else "Deleted"
        size = Size(*self.freed)
        parts = [
            f"{done} the artifacts of {self.runs} run(s) older than {self.days} days: "
            f"{counted(size.objects, 'object')}, {human_size(size.bytes)}; "
            f"kept those of {self.kept}",
            self.refusals,
        ]
        if self.strays_unknown:
            parts.append("what belongs to no run is unknown")
        elif self.strays_found:
            parts.append(f"{self.strays_found} folder(s) of no run, {self.strays_deleted} deleted")
        return "; ".join(filter(None, parts))


def artifact_cleanup_of(operation: Operation) -> ArtifactCleanup:
    """Return how far an operation that cleans up artifacts is."""
    return replace(ArtifactCleanup.load(operation.data), operation=operation)


def report(work: Work[ArtifactState], write_line: WriteLine, line: str) -> None:
    """Report a line to the log, to the listener and in the operation."""
    work.state = logged(work.state, [line])
    write_lines(write_line, [line])


def pass_by(state: ArtifactState, chunk: Chunk) -> ArtifactState:
    """Continue after a chunk without a deletion."""
    return replace(state, refused=refused.pass_by(state.refused, chunk))


def end_folder(state: ArtifactState, folder: str) -> tuple[ArtifactState, str]:
    """End the current folder; returns why a part of it stays, '' if all of it was deleted."""
    # By folder, so that a folder that is processed again is counted once.
    counts = {**state.refused_in_all, refused.quoted(folder): refused.count_of(state.refused)}
    left = {name: count for name, count in counts.items() if count}
    reason = refused.why_left(state.refused)
    return replace(state, refused={}, refused_in_all=left), reason
