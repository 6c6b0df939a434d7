"""What a comparison may not judge because somebody works on it, and how it reads rows in chunks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.db.models import Model, Q, QuerySet

from ml_platform.models import Operation, Sweep
from ml_platform.models.states import LIVE_OPERATION_STATUSES
from ml_platform.text import in_one_line

CHUNK = 500
LEFT_OUT = 20
"""Rows that a sweep could not judge of which it says which and why; the others are counted."""
VERTEX_MODEL = "vertexmodel"
"""Subject type of operations on a model of Vertex AI that no row of ours stands for."""
WORKED_ON = "an operation works on it, or did since the sweep began"
NEW = "it is newer than the sweep"
UNSTORED = "what was read of it could not be stored"
ELSEWHERE = "its pointer lies outside the configured project and location"
M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that a comparison did not judge: neither seen nor gone."""

    what: str
    why: str
    project_id: Any
    """Whose it is; None for what belongs to no project."""


def tell_left_out(held: Sequence[LeftOut]) -> dict[str, Any]:
    """How many rows were held and the first of them: of everything, and `of` each project."""
    of: dict[str, list[LeftOut]] = {}
    for row in held:
        if row.project_id is not None:
            of.setdefault(str(row.project_id), []).append(row)
    return count_left_out(held) | {
        "of": {project: count_left_out(rows) for project, rows in of.items()}
    }


def count_left_out(rows: Sequence[LeftOut]) -> dict[str, Any]:
    """How many rows those are, and the first of them."""
    first = [
        {"what": in_one_line(row.what), "why": in_one_line(row.why)} for row in rows[:LEFT_OUT]
    ]
    return {"held": len(rows), "left_out": first}


@dataclass(frozen=True, slots=True)
class Touched:
    """What operations work on, or worked on since a time: lineages and services by their names,
    models of Vertex AI by their ids."""

    lineages: frozenset[str]
    models: frozenset[str]
    services: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a sweep has read, as a comparison gets it.

    `unstored` are those of each plane that were there and could not be stored: the mirror does not
    tell anything about them, least of all that they are missing.
    """

    sweep: Sweep
    now: datetime
    unstored: Mapping[str, Collection[str]]
    heartbeat: Callable[[], object]
    """Called before each chunk of rows, so that the sweep lives on."""

    def touched(self) -> Touched:
        """What is being worked on, or was since it began; read it after the rows."""
        return touched_since(self.sweep.started_at)

    def chunks(self, rows: QuerySet[M]) -> Iterator[list[M]]:
        """All rows, a chunk at a time."""
        for chunk in chunks(rows):
            self.heartbeat()
            yield chunk


def touched_since(moment: datetime) -> Touched:
    """What is being worked on, or was since then; read it after the rows it is held against."""
    rows = Operation.objects.filter(
        Q(status__in=LIVE_OPERATION_STATUSES) | Q(finished_at__gt=moment)
    ).values_list("lineage_key", "service_key", "subject_type", "subject_id")
    lineages, services, models = set(), set(), set()
    for lineage, service, kind, subject in rows.iterator():
        lineages.add(lineage)
        services.add(service)
        if kind == VERTEX_MODEL:
            models.add(subject)
    return Touched(frozenset(lineages), frozenset(models), frozenset(services))


def chunks(rows: QuerySet[M]) -> Iterator[list[M]]:
    """All rows in the order of their ids, CHUNK at a time, each chunk read when it is needed."""
    last = 0
    while chunk := list(rows.filter(pk__gt=last).order_by("pk")[:CHUNK]):
        yield chunk
        last = chunk[-1].pk
