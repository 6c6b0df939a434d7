"""A sweep against a bare loop over the same listings with the same client."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import F

from ml_platform.cloud import cloud_run, scheduler, storage, vertex
from ml_platform.cloud.names import ModelName
from ml_platform.models import DeployedEndpoint, MirroredModel, RegisteredModel, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.services.installation.identity import identity
from ml_platform.services.operations.store import Actor
from ml_platform.services.sweeps.changed_versions import read_changed_versions
from ml_platform.services.sweeps.sweep import sweep

from .cloud import BUCKET, SWEPT
from .ground import fill, open_database, settle
from .pairs import Figure, compare

GOAL = 1.3
ACTOR = Actor(label="benchmark", origin="command")
READ_EACH_HOUR = SWEPT // 24
"""Models whose versions a sweep reads when nothing changes: those of each model once a day."""


def sweeps(database: str) -> Iterator[Figure]:
    """A platform in order with so many models, swept and listed in turn."""
    open_database(f"{database}-sweep")
    fill(SWEPT)
    put_in_order()
    yield compare(
        f"sweep of {SWEPT:,} models and their artifacts",
        _sweep,
        _list,
        goal=GOAL,
        rounds=15,
        warm=1,
    )


def put_in_order() -> None:
    """Have the rows be what the cloud has, and the mirror as the sweeps of a day leave it."""
    DeployedEndpoint.objects.all().delete()
    RegisteredModel.objects.update(total_versions=1, latest_run=F("pk"))
    TrainingRun.objects.filter(version=2).delete()
    for _ in range(2):
        _sweep()
    while MirroredModel.objects.filter(versions__isnull=True).exists():
        read_changed_versions(us=identity(), began=database_now(), renew=database_now)
    settle()


def _sweep() -> None:
    day = timedelta(days=1, hours=1)
    hour = MirroredModel.objects.order_by("versions_read_at", "pk")[:READ_EACH_HOUR]
    MirroredModel.objects.filter(pk__in=list(hour.values_list("pk", flat=True))).update(
        versions_read_at=database_now() - day
    )
    done = sweep(actor=ACTOR, clock=database_now)
    if done.status != "complete" or done.counts["vertex"] != SWEPT:
        raise RuntimeError(f"{done.planes} {done.counts}")


def _list() -> None:
    names: list[ModelName] = []
    for page in vertex.list_models(page_size=100):
        names = names or [model.name for model in page][:READ_EACH_HOUR]
    glob = "runs/**/pushed_model/*/**"
    artifacts = sum(len(page) for page in storage.list_objects(BUCKET, "runs/", glob=glob))
    services = sum(len(page) for page in cloud_run.list_services(page_size=100))
    jobs = sum(len(page) for page in scheduler.list_jobs())
    endpoints = sum(len(page) for page in vertex.list_endpoints(page_size=100))
    versions = sum(len(page) for name in names for page in vertex.list_model_versions(name))
    if (artifacts, services, jobs, endpoints, versions) != (SWEPT, 0, 0, 0, READ_EACH_HOUR):
        raise RuntimeError(f"{artifacts} artifacts, {services} services, {versions} versions")
