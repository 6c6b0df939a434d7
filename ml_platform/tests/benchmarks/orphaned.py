"""The cleanup of orphans against one raw DELETE of the same rows."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from django.db import connection, transaction

from ml_platform.models import Project
from ml_platform.models.clock import database_now
from ml_platform.services.cleanup.orphans import clean_up_orphans
from ml_platform.services.operations.store import Actor

from .ground import moment, open_database, series, settle, uid
from .pairs import Figure

GOAL = 3.0
ROUNDS = ((1_000_000, 1), (100_000, 3), (0, 15))
"""How many pairs from which size on: each row is made and deleted twice in a pair."""
ACTOR = Actor(label="benchmark", origin="command")


def orphan_cleanup(sizes: Sequence[int], database: str) -> Iterator[Figure]:
    """Each size in turn, in a database that holds nothing else."""
    open_database(f"{database}-orphans")
    project = Project.objects.create(name="project")
    for size in sizes:
        rounds = next(rounds for least, rounds in ROUNDS if size >= least)
        pairs = [(_timed(_ours, size, project), _timed(_raw, size, project)) for _ in range(rounds)]
        ours, raw = (median(side) * 1000 for side in zip(*pairs, strict=True))
        note = f"peak of the process {_peak():.0f} MiB"
        name = f"orphans, cleanup of {size:,}"
        yield Figure(name=name, ours=ours, theirs=raw, goal=GOAL, note=note)


def _timed(delete: Callable[[int], None], size: int, project: Project) -> float:
    _make(size, project)
    gc.collect()
    started = time.perf_counter()
    delete(size)
    return time.perf_counter() - started


def _make(size: int, project: Project) -> None:
    old = moment("i % 1000000")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"""
            INSERT INTO ml_platform_registeredmodel (id, uid, project_id, model_name, model_type,
                description, generation, next_version, vertex_model_resource_name, total_versions,
                registry_state, created_at, updated_at)
            SELECT i, {uid("i")}, {project.pk}, 'orphan-' || i, 'other', '', 1, 1, '', 0, '', {old},
                {old}
            FROM {series(size)}""")
    settle()


def _ours(size: int) -> None:
    heard = [0]

    def tell(line: str) -> None:
        heard[0] += 1

    cleanup = clean_up_orphans(days=7, actor=ACTOR, clock=database_now, write_line=tell)
    if not cleanup.deleted == heard[0] == size:
        raise RuntimeError(f"{cleanup.summary}; {heard[0]} lines")


def _raw(size: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM ml_platform_registeredmodel "
            f"WHERE vertex_model_resource_name = '' AND next_version = 1 "
            f"AND created_at < {moment('60 * 86400')}"
        )
        if cursor.rowcount != size:
            raise RuntimeError(f"{cursor.rowcount} rows deleted")


def _peak() -> float:
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
