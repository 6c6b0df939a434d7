"""Rows that a comparison leaves out because an operation works on them; reading in chunks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, TypeVar

from django.db.models import Model, Q, QuerySet

from ml_platform.models import Operation, Sweep, TrainingRun
from ml_platform.models.states import LIVE_OPERATION_STATUSES, OperationKind
from ml_platform.services.operations.store import lineage_key
from ml_platform.text import in_one_line

CHUNK = 500
LEFT_OUT = 20
"""How many of the rows left out a sweep names, with the reason; the others are only counted."""
VERTEX_MODEL = "vertexmodel"
"""Subject type of operations on a Vertex AI model that is not in our tables."""
WORKED_ON = "an operation changes it, or has changed it since the sweep began"
NEW = "it is newer than the sweep"
UNSTORED = "its data could not be stored"
ELSEWHERE = "its resource name is outside the configured project and location"
M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that a sweep did not compare. Its findings stay as they are."""

    what: str
    why: str
    project_id: Any
    """The project that it belongs to, None for none."""


def tell_left_out(held: Sequence[LeftOut]) -> dict[str, Any]:
    """Return how many rows were left out, and the first of them: in total, and by project."""
    of: dict[str, list[LeftOut]] = {}
    for row in held:
        if row.project_id is not None:
            of.setdefault(str(row.project_id), []).append(row)
    return count_left_out(held) | {
        "of": {project: count_left_out(rows) for project, rows in of.items()}
    }


def count_left_out(rows: Sequence[LeftOut]) -> dict[str, Any]:
    """Return the number of rows, and the first of them with the reasons."""
    first = rows[:LEFT_OUT]
    said = [{"what": in_one_line(row.what), "why": in_one_line(row.why)} for row in first]
    return {"held": len(rows), "left_out": said}


@dataclass(frozen=True, slots=True)
class Touched:
    """What operations change, or have changed since a time: lineages and services by their lock
    keys, models of Vertex AI by their ids."""

    lineages: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    services: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A sweep that has read the planes, as its comparisons get it.

    `unstored` names what each plane listed and the database could not store. The mirror does not
    have it, so a comparison would take it for missing.
    """

    sweep: Sweep
    now: datetime
    unstored: Mapping[str, Collection[str]]
    heartbeat: Callable[[], object]
    """Renews the lease of the sweep; called before each chunk of rows."""

    def touched(self) -> Touched:
        """What operations change, or have changed since the sweep began.

        Read it after the rows to compare: an operation that begins in between would be missed.
        """
        rows = Operation.objects.filter(
            Q(status__in=LIVE_OPERATION_STATUSES) | Q(finished_at__gt=self.sweep.started_at)
        ).values_list("lineage_key", "service_key", "subject_type", "subject_id")
        touched = Touched()
        for lineage, service, kind, subject in rows.iterator():
            touched.lineages.add(lineage)
            touched.services.add(service)
            if kind == VERTEX_MODEL:
                touched.models.add(subject)
        # The deletion of versions gives the lock back before it ends.
        marked = TrainingRun.objects.filter(awaiting_removal__marked_at__gte=self.sweep.started_at)
        ended = Operation.objects.filter(
            kind=OperationKind.DELETE, lineage_key="", finished_at__gt=self.sweep.started_at
        )
        for project, name in chain(
            marked.values_list("project_id", "model_name"),
            ended.values_list("lineage__project_id", "lineage__model_name"),
        ):
            touched.lineages.add(lineage_key(project_id=project, model_name=name))
        return touched

    def chunks(self, rows: QuerySet[M]) -> Iterator[list[M]]:
        """Yield all rows, a chunk at a time."""
        for chunk in chunks(rows):
            self.heartbeat()
            yield chunk


def chunks(rows: QuerySet[M]) -> Iterator[list[M]]:
    """Yield all rows in the order of their ids, CHUNK at a time."""
    last = 0
    while chunk := list(rows.filter(pk__gt=last).order_by("pk")[:CHUNK]):
        yield chunk
        last = chunk[-1].pk
