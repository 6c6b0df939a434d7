"""The incident's platform: the rows of its tables, and what it left on Google Cloud."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from ml_platform.cloud import cloud_run, scheduler
from ml_platform.cloud.types import JobSpec, ServiceSpec
from ml_platform.tests.factories import UserFactory
from ml_platform.tests.host_tables import insert, make_tables
from ml_platform.tests.incident_rows import (
    DELETED_IN_VERTEX,
    NEVER_REGISTERED,
    REGISTERED,
    UNMANAGED,
)
from ml_platform.tests.services.training_tools import SPEC
from ml_platform.tests.services.world import BUCKET

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

NAMES = [
    "chern_retriv_v2", "chern_retriv_v5", "chern_rank_v1", "chern_hybrid_v1", "chern_hybrid_v2",
    "chern_hybrid_v3", "short-test-20260129", "chern_rank_v3", "chern_rank_v4", "chern_retriv_v6",
]  # fmt: skip
"""In the order of their ids, 1 to 10."""
KEY = {name: key for key, name in enumerate(NAMES, 1)}
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
IN_VERTEX = sorted(set(REGISTERED) - {DELETED_IN_VERTEX})
THEIR_JOB = "training-schedule-1"
RINGER = "ringer@demo-project.iam.gserviceaccount.com"


def type_of(name: str) -> str:
    known = {"rank": "ranking", "hybrid": "multitask"}
    return next((kind for part, kind in known.items() if part in name), "retrieval")


JOB: dict[str, Any] = {
    "job_id": THEIR_JOB, "schedule": "0 4 * * *", "uri": "https://theirs.example.com/",
    "service_account": RINGER, "audience": "https://theirs.example.com/",
}  # fmt: skip
"""The arguments of `JobSpec`."""


class Past:
    """What the platform has: rows of its tables, and what it left on Google Cloud."""

    def __init__(self, *, ana: int, project: str, number: int) -> None:
        self.ana_id, self.project, self.run = ana, project, 0
        self.parent = f"projects/{number}/locations/europe-central2"
        self.rows: list[tuple[str, int, dict[str, Any]]] = []
        self.files = {"templates/retrieval.json": json.dumps(SPEC)}
        self.models: list[dict[str, Any]] = []
        """The arguments of `ModelService.seed`."""
        self.services: dict[str, dict[str, Any]] = {}
        """The arguments of `ServiceSpec`."""
        self.add_row(
            "ml_platform_modelendpoint", 1, name="test_v1", description="B2B", created_by_id=ana
        )
        for name in NAMES:
            self.add_model(name)
        for name, vertex_id in UNMANAGED.items():
            self.seed(vertex_id, display_name=name, artifact_uri="gs://quicktest/model")
        self.add_schedules()
        self.add_endpoints()

    def add_row(self, table: str, key: int, **values: Any) -> None:
        self.rows.append((table, key, values))

    def seed(self, model_id: str, **values: Any) -> None:
        self.models.append({"model_id": model_id, **values})

    def add_model(self, name: str) -> None:
        vertex_id, versions = REGISTERED.get(name, ("", 0))
        resource = f"{self.parent}/models/{vertex_id}" if vertex_id else ""
        about = {"ml_model_id": 1, "model_type": type_of(name)}
        self.add_row(
            "training_registeredmodel", KEY[name], **about, model_name=name, description="Chern.",
            vertex_model_resource_name=resource,
        )  # fmt: skip
        seeded = []
        for version in range(1, versions + 1):
            # A deletion there clears the runs and leaves the model's own pointer.
            gone = name == DELETED_IN_VERTEX
            uri = self.add_run(
                name, status="deployed" if name == "chern_retriv_v5" else "completed",
                is_blessed=True, recall_at_100=0.3 + version / 100, gpu_config={"count": 1},
                vertex_model_resource_name="" if gone else resource,
                vertex_model_version="" if gone else str(version),
                registered_at=LONG_AGO + timedelta(days=version),
                schedule_id=1 if name == "chern_retriv_v5" and version > 3 else None,
            )  # fmt: skip
            seeded.append({"version": version, "artifact_uri": f"{uri}/pushed_model/1"})
        if seeded and name != DELETED_IN_VERTEX:
            self.seed(vertex_id, display_name=name, versions=seeded)
        else:
            self.add_run(name, status="failed", error_message="Out of memory.", error_stage="train")

    def add_run(self, name: str, **fields: Any) -> str:
        self.run += 1
        folder = f"runs/training-{self.run}"
        self.files[f"{folder}/pushed_model/1/saved_model.pb"] = "model"
        self.add_row(
            "training_trainingrun", self.run, ml_model_id=1, name=name, model_type=type_of(name),
            gcs_artifacts_path=f"gs://{BUCKET}/{folder}", training_params={"epochs": 5},
            created_by_id=self.ana_id, created_at=LONG_AGO,
            completed_at=LONG_AGO + timedelta(hours=2), **fields,
        )  # fmt: skip
        return f"gs://{BUCKET}/{folder}"

    def add_schedules(self) -> None:
        jobs = f"projects/{self.project}/locations/europe-central2/jobs"
        common = {"ml_model_id": 1, "schedule_timezone": "Europe/Warsaw", "created_at": LONG_AGO}
        for key, name, state, kind in (
            (1, "chern_retriv_v5", "active", "daily"),
            (2, NEVER_REGISTERED[0], "cancelled", "weekly"),
            (3, NEVER_REGISTERED[1], "completed", "once"),
        ):
            self.add_row(
                "training_trainingschedule", key, **common, name=f"Train {name}", status=state,
                registered_model_id=KEY[name], schedule_type=kind, schedule_time=time(4, 0),
                schedule_day_of_week=0, scheduled_datetime=LONG_AGO, training_params={"epochs": 5},
                cloud_scheduler_job_name=f"{jobs}/{THEIR_JOB}"
                if state == "active" else "",
            )  # fmt: skip

    def add_endpoints(self) -> None:
        for key, name, active in (
            (1, "chern_retriv_v5", True), (2, "chern_rank_v4", True), (3, "chern_rank_v3", False),
            (4, DELETED_IN_VERTEX, False),
        ):  # fmt: skip
            service = f"test-v1-{name.replace('_', '-')}"
            run = self.newest_run(name)
            self.add_row(
                "training_deployedendpoint", key, registered_model_id=KEY[name], is_active=active,
                service_name=service, deployed_training_run_id=run, created_at=LONG_AGO,
                model_deleted=name == DELETED_IN_VERTEX, service_url=f"https://{service}.run.app",
            )  # fmt: skip
            if active:
                uri = f"gs://{BUCKET}/runs/training-{run}/pushed_model/1"
                env = {"MODEL_PATH": uri}
                self.services[service] = {"image": "theirs", "labels": {}, "env": env}

    @staticmethod
    def newest_run(name: str) -> int:
        before = NAMES[: NAMES.index(name)]
        extra = sum(1 for other in before if other not in IN_VERTEX)
        return sum(REGISTERED.get(n, ("", 0))[1] for n in [*before, name]) + extra


class Platform(Past):
    """That past in the test's database and its local cloud."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud, self.ana = cloud, UserFactory.create(username="ana")
        super().__init__(ana=self.ana.pk, project=cloud.project, number=cloud.project_number)
        make_tables()
        for table, key, values in self.rows:
            insert(table, key, **values)
        for name, text in self.files.items():
            cloud.storage.write(BUCKET, name, text.encode())
        cloud.clock.set(LONG_AGO)
        for model in self.models:
            cloud.models.seed(**model)
        cloud.clock.set(datetime.now(UTC))
        for name, spec in self.services.items():
            cloud_run.create_service(name, ServiceSpec(**spec))
        scheduler.create_job(JobSpec(**JOB))
