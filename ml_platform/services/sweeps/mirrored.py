"""Write the pages of a listing into the mirror, and forget what a complete listing does not have.

Only rows that differ are written: each keeps a digest of what was written, so a sweep of a cloud
that did not change writes nothing, and reads one short column of each row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import Any

from django.db.models import Exists, Model, Q, QuerySet

from ml_platform.errors import Invalid
from ml_platform.models import Sweep
from ml_platform.models.locking import PART, delete_rows, update_rows
from ml_platform.models.states import SweepStatus
from ml_platform.services.findings.exclusions import CHUNK, LeftOut
from ml_platform.services.findings.row_by_row import write_each
from ml_platform.services.installation.identity import Identity
from ml_platform.services.operations.work import Json

from .shrinking import judge

BITS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """How to read a plane: its pages, and the mirror row of each item.

    `name` returns the item's key. `row` returns the other columns, and raises Invalid for an item
    that cannot be a valid reference.
    """

    pages: Callable[[], Iterator[Sequence[Any]]]
    name: Callable[[Any], str]
    row: Callable[[Any, Identity], Json]
    table: type[Model]
    key: str
    together: int = CHUNK
    """Items that are written together, as far as the pages have so many."""
    keep: Callable[[Sequence[Any], Sweep, datetime], object] = lambda items, sweep, now: None
    """Writes what else these items say about our rows."""

    @property
    def rows(self) -> QuerySet[Any]:
        """The rows of its mirror."""
        return self.table._default_manager.all()  # noqa: SLF001 - Django's documented name


@dataclass(slots=True)
class Unchanged:
    """The keys of the rows that a listing has as they are in the mirror: a bit for each, so that
    memory does not grow with the number of models."""

    count: int = 0
    _bits: dict[int, int] = field(default_factory=dict)

    def add(self, keys: Iterable[int]) -> None:
        """Add these rows; one that was added before counts once."""
        for key in keys:
            place, bit = divmod(key, BITS)
            known = self._bits.get(place, 0)
            self._bits[place] = known | 1 << bit
            self.count += not known >> bit & 1

    def __contains__(self, key: int) -> bool:
        place, bit = divmod(key, BITS)
        return bool(self._bits.get(place, 0) >> bit & 1)


def keep_items(
    plane: Plane, items: Sequence[Any], *, sweep: Sweep, now: datetime, us: Identity
) -> tuple[list[int], list[LeftOut]]:
    """Write what differs of these items into the mirror; returns the keys of the rows that do not
    differ, and the items that cannot be stored."""
    left_out: list[LeftOut] = []
    # By key, because one statement must not upsert a row twice; sorted, because two sweeps
    # that lock rows in different orders would deadlock.
    keyed: dict[str, Json] = {}
    for found in items:
        name = plane.name(found)
        try:
            keyed[name] = {plane.key: name, **plane.row(found, us)}
        except Invalid as error:
            left_out.append(LeftOut(name, str(error), None))
    digests = {name: _digest(row) for name, row in keyed.items()}
    same = _unchanged(plane, digests, sweep, now)
    seen = {"seen_sweep": sweep, "seen_at": now}
    rows = [
        keyed[name] | seen | {"content": f"{sweep.pk} {digests[name]}"}
        for name in sorted(keyed.keys() - same.keys())
    ]
    unstored = write_each(rows, partial(_upsert, plane))
    left_out += (LeftOut(row[plane.key], why, None) for row, why in unstored)
    return list(same.values()), left_out


def _digest(row: Json) -> str:
    return blake2b(repr(row).encode(), digest_size=20).hexdigest()


def _unchanged(
    plane: Plane, digests: Mapping[str, str], sweep: Sweep, now: datetime
) -> dict[str, int]:
    """Return, by name, the rows of the mirror that a sweep has written with these contents.

    A row that the release before has written since then names another sweep.
    """
    beside = Sweep.objects.filter(status=SweepStatus.RUNNING).exclude(pk=sweep.pk)
    rows = plane.rows.filter(**{f"{plane.key}__in": list(digests)})
    rows = rows.annotate(beside=Exists(beside))
    columns = (plane.key, "pk", "content", "seen_sweep_id", "beside")
    found = list(rows.values_list(*columns))
    same = {
        name: pk
        for name, pk, content, written_by, _ in found
        if content == f"{written_by} {digests[name]}"
    }
    # A sweep beside this one must not forget them.
    if same and found[0][-1]:
        marked = update_rows(plane.rows.filter(pk__in=same.values()), seen_at=now)
        return same if marked == len(same) else {}
    return same


def _upsert(plane: Plane, rows: Sequence[Json]) -> None:
    # Other columns stay: the versions of a model are not read with its listing.
    columns = [name for name in rows[0] if name != plane.key]
    plane.table._default_manager.bulk_create(  # noqa: SLF001 - Django's documented name
        [plane.table(**row) for row in rows],
        update_conflicts=True,
        unique_fields=[plane.key],
        update_fields=columns,
    )


def forget_unseen(
    name: str,
    plane: Plane,
    sweep: Sweep,
    unchanged: Unchanged,
    *,
    unstored: Collection[str],
    had: int,
) -> Json:
    """Delete the mirror rows that this complete reading did not list, of the `had` before it.

    Rows that a concurrent sweep has seen stay, as do those that were listed but could
    not be stored. If it lacks too many, all stay, and the plane counts as not read.
    """
    if not had:
        return {}
    others = plane.rows.exclude(Q(seen_sweep__gte=sweep.pk) | Q(seen_at__gt=sweep.started_at))
    if others.count() == unchanged.count:
        return {}
    unseen = [
        pk
        for pk, key in others.order_by("pk").values_list("pk", plane.key).iterator()
        if pk not in unchanged and key not in unstored
    ]
    if shrunk := judge(name, had=had, lacks=len(unseen), unseen=_parts(plane.rows, unseen)):
        return shrunk
    for part in _parts(others, unseen):
        delete_rows(part)
    return {}


def _parts(rows: QuerySet[Any], keys: Sequence[int]) -> Iterator[QuerySet[Any]]:
    left = iter(keys)
    while part := list(islice(left, PART)):
        yield rows.filter(pk__in=part)
