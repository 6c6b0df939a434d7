"""A sweep against a bare loop over the same listings with the same client."""

from __future__ import annotations

from collections.abc import Iterator

from ml_platform.cloud import cloud_run, storage, vertex
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor
from ml_platform.services.sweeps.sweep import sweep

from .cloud import BUCKET, SWEPT
from .ground import fill, open_database
from .pairs import Figure, compare

GOAL = 1.3
ACTOR = Actor(label="benchmark", origin="command")


def sweeps(database: str) -> Iterator[Figure]:
    """A platform in order with so many models, swept and listed in turn."""
    open_database(f"{database}-sweep")
    fill(SWEPT)
    yield compare(
        f"sweep of {SWEPT:,} models and their artifacts",
        _sweep,
        _list,
        goal=GOAL,
        rounds=7,
        warm=1,
    )


def _sweep() -> None:
    done = sweep(actor=ACTOR, clock=database_now)
    if done.status != "complete" or done.counts["vertex"] != SWEPT:
        raise RuntimeError(f"{done.planes} {done.counts}")


def _list() -> None:
    models = sum(len(page) for page in vertex.list_models(page_size=100))
    glob = "runs/**/pushed_model/*/**"
    artifacts = sum(len(page) for page in storage.list_objects(BUCKET, "runs/", glob=glob))
    services = sum(len(page) for page in cloud_run.list_services(page_size=100))
    if (models, artifacts, services) != (SWEPT, SWEPT, 0):
        raise RuntimeError(f"{models} models, {artifacts} artifacts, {services} services")
