"""Import a platform: its rows become ours, as far as the planes agree. It may run again."""

from __future__ import annotations

from ml_platform.models import Operation
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.work import Clock
from ml_platform.services.repairs.reconciliation import finish_operation

from .adoptions import adopt_models, find_models, import_endpoints
from .context import Entry, Importing
from .history import find_users, import_projects, import_runs
from .host_rows import check_tables
from .mapping import PlatformMap
from .schedules import import_schedules


def import_platform(
    *, mapping: PlatformMap, actor: Actor, clock: Clock, write: bool
) -> list[Entry]:
    """Bring what the mapping names into our tables; returns what becomes of each row, and why.

    Without `write` nothing is changed, here or at Google. A row that came before is left as it is;
    one that waits for a plane, or for its pipeline, comes at a later import. What an import that
    died has begun is carried on first.

    :raises BadMapping: the database has not what the mapping names.
    :raises Conflict: another import runs.
    """
    check_tables(mapping)
    if write:
        _carry_on(actor, clock)
    work = Importing(mapping=mapping, actor=actor, clock=clock, write=write)
    find_users(work)
    import_projects(work)
    find_models(work)
    import_runs(work)
    adopt_models(work)
    import_schedules(work)
    import_endpoints(work)
    return work.entries


def _carry_on(actor: Actor, clock: Clock) -> None:
    """End the operations that an earlier import of this kind has left."""
    begun = Operation.objects.live().filter(actor_label=actor.label, origin=actor.origin)
    for operation in begun.order_by("created_at"):
        finish_operation(operation=operation, clock=clock)
