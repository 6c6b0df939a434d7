"""Models by a part of their names, found by an index."""

from __future__ import annotations

from django.db.models import F, Q, QuerySet, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import StrIndex
from django.db.models.lookups import Exact, GreaterThan

from ml_platform.guard import is_storable
from ml_platform.models import RegisteredModel
from ml_platform.models.database import write_connection
from ml_platform.models.registry.kept_rows import NAMES, PARTS, TRIGRAMS, has_trigrams
from ml_platform.models.registry.registered_model import MODEL_NAME_MAX

FOUND_AT_MOST = 10_000
"""Up to here a search counts what it finds; a search that finds more is said to find this many."""
NEWEST = 1000
"""Names that are read to see whether a part is frequent: how many there are is dearer to learn."""
WHOLE = 3
"""Characters of a part that an index of trigrams finds; shorter ones begin a name."""


def has_part(text: str) -> Q:
    """The condition on models whose name has this part, or begins with it if it has one or two
    characters; upper case is read as lower case. One statement.

    A part is looked up. A frequent one is sought in each name, in the order of the list, where a
    page is full soon.
    """
    part = text.lower()
    if not part:
        return Q()
    if len(part) > MODEL_NAME_MAX or not is_storable(part):
        return Q(pk__in=[])
    where = StrIndex(F("model_name"), Value(part))
    in_each = Q(GreaterThan(where, 0)) if len(part) >= WHOLE else Q(Exact(where, 1))
    lookup = _lookup(part)
    if lookup is None:
        return in_each
    return in_each if _is_frequent(part) else Q(pk__in=lookup)


def count_found(rows: QuerySet[RegisteredModel]) -> tuple[int, bool]:
    """How many rows a search finds, and whether that is exact or a lower bound."""
    found = rows.order_by()[: FOUND_AT_MOST + 1].count()
    return min(found, FOUND_AT_MOST), found <= FOUND_AT_MOST


def _is_frequent(part: str) -> bool:
    """Whether a tenth of the newest names has it, whoever may see them."""
    at = "instr" if write_connection().vendor == "sqlite" else "strpos"
    with write_connection().cursor() as cursor:
        cursor.execute(
            f"SELECT COUNT(*) FROM (SELECT name FROM {NAMES} "
            f"ORDER BY registered_model_id DESC LIMIT {NEWEST}) AS newest "
            f"WHERE {at}(name, %s) {'> 0' if len(part) >= WHOLE else '= 1'}",
            [part],
        )
        return bool(cursor.fetchone()[0] * 10 >= NEWEST)


def _lookup(part: str) -> RawSQL | None:
    """The ids of the models; None on an SQLite that has no index for them."""
    on_postgresql = write_connection().vendor == "postgresql"
    ids = f"SELECT registered_model_id FROM {NAMES} WHERE"
    if len(part) < WHOLE:
        if on_postgresql:
            escaped = part.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
            return RawSQL(f"{ids} name LIKE %s", [f"{escaped}%"])
        return RawSQL(f"{ids} name >= %s AND name < %s", [part, f"{part}\U0010ffff"])
    if on_postgresql:
        # The index finds the names that have all these trigrams, in any order.
        every = f"{TRIGRAMS}(name) @> {TRIGRAMS}(%s)"
        return RawSQL(f"{ids} {every} AND strpos(name, %s) > 0", [part, part])
    if not has_trigrams():
        return None
    phrase = '"{}"'.format(part.replace('"', '""'))
    return RawSQL(f"SELECT rowid FROM {PARTS} WHERE {PARTS} MATCH %s", [phrase])
