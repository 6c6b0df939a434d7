"""One installation in one local cloud, both told the same frozen time, and how it comes to rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol
from unittest.mock import patch

from django.db import connection, transaction
from google.cloud.run_v2.types import service as service_types

from ml_platform.cloud.transport import channels
from ml_platform.localcloud.core.call_log import Running, serving
from ml_platform.models import (
    DeployedEndpoint,
    Operation,
    Project,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.services.installation.identity import current
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.ownership.labels import RUN
from ml_platform.services.registry.aliases import DEFAULT
from ml_platform.tests.factories import TrainingRunFactory
from ml_platform.tests.services.training_tools import CloudClock
from ml_platform.tests.services.vertex_rows import managed

from . import planes

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

BO = Actor(label="bo", origin="command")
START = datetime(2026, 2, 8, 12, tzinfo=UTC)
ROUNDS = 400
LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
PINNED = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
ONCE = frozenset(
    {
        "ModelService.UploadModel",
        "ModelService.DeleteModel",
        "ModelService.DeleteModelVersion",
        "PipelineService.CreatePipelineJob",
        "Services.CreateService",
        "Services.DeleteService",
        "CloudScheduler.CreateJob",
        "CloudScheduler.DeleteJob",
        "storage.objects.delete",
    }
)
"""What must not be done twice; the other effects may be repeated, they end in the same state."""


Facts = dict[str, int]
"""What a scene tells the process that acts in it: ids of rows."""


class Hands(Protocol):
    """What a scenario needs of the process it runs in."""

    def now(self) -> datetime:
        """The time, for us and the local cloud."""

    def forward(self, seconds: float) -> None:
        """Let time pass."""


class World:
    """The process that holds the local cloud."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.vendor = connection.vendor
        self.project: Any = None
        self.copies: set[str] = set()
        """Models that people copied from ours, labels and all."""
        self.neighbour: Any = None
        """Another installation in the same Google project, once it has acted."""
        self.backup: Any = None
        """A copy of our database at an earlier moment."""
        self.not_judged: Collection[int] = ()
        """Numbers of the changes in the cloud that our tables need not name: see `Judge`."""

    def reset(self) -> None:
        """Everything as new: rows, cloud, time; one project."""
        wipe()
        self.copies.clear()
        self.neighbour = self.backup = None
        self.not_judged = ()
        self.cloud.reset()
        self.cloud.core.operations.lro_seconds = 0.0
        self.cloud.pipelines.stage_seconds = 10.0
        CloudClock(self.cloud, START)
        current()  # what has no row yet has made nothing that a backup could forget
        self.project = Project.objects.create(pk=1, name="first")

    def now(self) -> datetime:
        """The time, for us and the local cloud."""
        return self.cloud.clock.now()

    def forward(self, seconds: float) -> None:
        """Let time pass; what is due in the cloud happens."""
        self.cloud.clock.advance(seconds)

    def a_run(self, name: str = "chern", **fields: Any) -> TrainingRun:
        """A run that succeeded and left its pushed model in Cloud Storage."""
        fields.setdefault("project", self.project)
        run: TrainingRun = TrainingRunFactory(completed=True, model_name=name, **fields)
        self.write(run)
        return run

    def write(
        self, run: TrainingRun, name: str = "pushed_model/1/saved_model.pb", data: bytes = b"model"
    ) -> None:
        """Put a file below the run's prefix."""
        self.cloud.storage.write(planes.BUCKET, prefix_of(run) + name, data)

    def a_lineage(self, versions: int = 1, name: str = "chern") -> list[TrainingRun]:
        """Versions that agree on all planes, as their registration would have left them."""
        lineage = managed(self.cloud, versions=versions, project=self.project, model_name=name)
        lineage.training_runs.update(registered_at=self.now())  # as Vertex AI says
        RegisteredModel.objects.filter(pk=lineage.pk).update(latest_registered_at=self.now())
        runs = list(lineage.training_runs.order_by("version"))
        TrainingRun.objects.filter(pk=runs[-1].pk).update(aliases=[DEFAULT])
        return runs

    @contextmanager
    def as_a_person(self, method: str) -> Iterator[None]:
        """What is done inside is done in Google's console: recorded, and met by no fault."""
        call = self.cloud.effects.begin(method, reason="console")
        with serving(Running(call)), self.cloud.core.lock:
            yield
        call.outcome = "OK"

    def vanish(self, model_id: str, version: str = "") -> None:
        """A person deletes a model, or one version of it, in the console."""
        method = f"ModelService.DeleteModel{'Version' if version else ''}"
        name = f"{self.cloud.core.names.vertex_parent}/models/{model_id}"
        with self.as_a_person(method):
            if version:
                self.cloud.models._registry.remove_version(name, version)
            else:
                self.cloud.models._registry.remove(name)

    def pin(self, service: str, revision: str) -> None:
        """A person sends all requests of a service to one revision."""
        self._send_traffic(service, {"type_": PINNED, "revision": revision, "percent": 100})

    def send_to_latest(self, service: str) -> None:
        """A person sends all requests of a service to its latest revision."""
        self._send_traffic(service, {"type_": LATEST, "percent": 100})

    def _send_traffic(self, service: str, target: dict[str, Any]) -> None:
        name = f"{channels.location_path()}/services/{service}"
        update = service_types.UpdateServiceRequest(
            service={"name": name, "traffic": [target]}, update_mask={"paths": ["traffic"]}
        )
        with (
            self.as_a_person("Services.UpdateService"),
            patch.object(self.cloud.core.operations, "lro_seconds", 0.0),
        ):
            self.cloud.run.update_service(update)


def prefix_of(run: TrainingRun) -> str:
    """The run's prefix in the bucket, with its closing slash."""
    return run.gcs_artifacts_path.removeprefix(f"gs://{planes.BUCKET}/")


def wipe() -> None:
    """Empty every table of ours, and begin their numbers anew."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            names = ", ".join(f'"{table}"' for table in _tables())
            cursor.execute(f"TRUNCATE {names} RESTART IDENTITY")
            return
        for table in _tables():
            cursor.execute(f'DELETE FROM "{table}"')  # noqa: S608 - a name of ours
        cursor.execute("DELETE FROM sqlite_sequence")


@lru_cache(maxsize=1)
def _tables() -> tuple[str, ...]:
    found = connection.introspection.table_names()
    return tuple(name for name in found if name.startswith(("ml_platform_", "django_tasks")))


def settle(hands: Hands) -> None:
    """Let workers go on, and time pass, until nothing is left to do."""
    for number in range(ROUNDS):
        resume_operations(clock=hands.now)
        if not (wait := _seconds_to_next(hands.now())):
            return
        hands.forward(max(wait, number // 50 * 30.0))  # what never ends is looked at less often
    raise AssertionError(list(Operation.objects.live().values("kind", "step", "error", "steps")))


def _seconds_to_next(now: datetime) -> float:
    """Until a live operation is due: 0 when there is none."""
    live = Operation.objects.live().values_list("lease_until", "next_attempt_at")
    due = [max([when for when in row if when] or [now]) for row in live]
    return max((min(due) - now).total_seconds() + 0.001, 1.0) if due else 0.0


# ---- what a world has come to, in words that do not change with ids -----------------------------


def signature(world: World) -> dict[str, list[Any]]:
    """What is on all planes, with runs numbered by their age, to compare two courses of events."""
    runs = list(TrainingRun.objects.select_related("registered_model").order_by("created_at", "pk"))
    index = {run.uid.hex: number for number, run in enumerate(runs)}
    by_pk = {run.pk: number for number, run in enumerate(runs)}
    cloud = world.cloud
    ids = {key: n for n, key in enumerate(sorted({v.model_id for v in planes.versions(cloud)}))}
    return {
        "runs": [
            (r.status, r.registration, r.version, r.vertex_model_version, sorted(r.aliases))
            for r in runs
        ],
        "lineages": sorted(
            RegisteredModel.objects.values_list(
                "model_name", "total_versions", "next_version", "generation"
            )
        ),
        "endpoints": [
            (e.state, e.is_active, e.model_deleted, by_pk.get(e.run_id or 0), bool(e.url))
            for e in DeployedEndpoint.objects.order_by("pk")
        ],
        "schedules": sorted(TrainingSchedule.objects.values_list("name", "state")),
        "operations": sorted(Operation.objects.values_list("kind", "status", "step")),
        "vertex": [
            (ids[v.model_id], v.version, v.aliases, index.get(v.labels.get(RUN, "")))
            for v in planes.versions(cloud)
        ],
        "objects": sorted(
            Counter(
                index.get(name.split("/")[1], name) if name.startswith("runs/") else name
                for name, _ in planes.objects(cloud)
            ).items(),
            key=str,
        ),
        "services": [
            (index.get(s.labels.get(RUN, "")), s.labels.get("mlp_owner"))
            for s in planes.services(cloud).values()
        ],
        "jobs": [job.state for job in planes.jobs(cloud).values()],
        "pipelines": [len(planes.pipelines(cloud))],
    }


def done_once(world: World) -> Counter[str]:
    """How often each effect that must not be repeated really happened."""
    return Counter(call.method for call in world.cloud.effects.mutations() if call.method in ONCE)
