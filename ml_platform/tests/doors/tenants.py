"""Two tenants for the tests of what one may learn of the other: each owns one of everything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    MirroredModel,
    MirroredService,
    Operation,
    Project,
    RegisteredModel,
    ServiceDailyMetrics,
    Sweep,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.clock import database_now
from ml_platform.services.findings.exclusions import LeftOut, tell_left_out
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    version_of,
)
from ml_platform.tests.incident_rows import finished_sweep

from .api_tools import member_of


@dataclass(frozen=True)
class Tenant:
    """A project full of things whose names all hold `word`, and a member with every right."""

    word: str
    project: Project
    member: Any
    model: RegisteredModel
    run: TrainingRun
    schedule: TrainingSchedule
    endpoint: DeployedEndpoint
    operation: Operation
    finding: Finding

    @property
    def ids(self) -> dict[str, Any]:
        """The ids by the names that paths and bodies give them."""
        return {
            "project": self.project.pk,
            "project_id": self.project.pk,
            "model": self.model.pk,
            "model_id": self.model.pk,
            "version": 1,
            "run": self.run.pk,
            "run_id": self.run.pk,
            "schedule": self.schedule.pk,
            "schedule_id": self.schedule.pk,
            "endpoint": self.endpoint.pk,
            "endpoint_id": self.endpoint.pk,
            "operation_id": self.operation.pk,
            "finding_id": self.finding.pk,
        }

    @property
    def marks(self) -> tuple[str, ...]:
        """What nobody else may read anywhere: the word of its names, and its uids."""
        uids = (self.model.uid, self.run.uid, self.schedule.uid, self.endpoint.uid)
        operations = Operation.objects.filter(project=self.project).values_list("pk", flat=True)
        both = [form for uid in [*uids, *operations] for form in (str(uid), uid.hex)]
        return (self.word, *both)


def full_tenant(word: str) -> Tenant:
    """A tenant with a served version, a failed run, a schedule, traffic, findings and history."""
    now = database_now()
    project = ProjectFactory.create(name=f"{word}-shop", description=f"{word} things")
    lineage = RegisteredModelFactory.create(project=project, model_name=f"{word}-rank")
    run = version_of(lineage)
    TrainingRunFactory.create(failed=True, project=project, model_name=f"{word}-run")
    schedule = TrainingScheduleFactory.create(registered_model=lineage, name=f"{word}-daily")
    endpoint = DeployedEndpointFactory.create(
        registered_model=lineage, run=run, service_name=f"{word}-service", serving=True
    )
    for days in range(1, 15):
        ServiceDailyMetrics.objects.create(
            service_name=endpoint.service_name, endpoint=endpoint, project=project,
            day=now.date() - timedelta(days=days), requests=1000, latency_p95=77.0, read_at=now,
            complete=True,
        )  # fmt: skip
    return Tenant(
        word,
        project,
        member_of(project, name=f"{word}-person"),
        lineage,
        run,
        schedule,
        endpoint,
        _operations(word, project, lineage),
        _findings(word, project, lineage),
    )


def _operations(word: str, project: Project, lineage: RegisteredModel) -> Operation:
    now = database_now()
    told = {"project": project, "actor_label": f"{word}-person", "origin": "api"}
    Operation.objects.create(
        kind="deploy", status="failed", subject_name=f"{word}-rank v1", lineage=lineage,
        error=f"{word} failed", advice=f"Ask {word}.", reason=f"for {word}", finished_at=now,
        steps=[{"step": "x", "title": f"{word} step", "status": "failed"}], **told,
    )  # fmt: skip
    running: Operation = Operation.objects.create(
        kind="deploy", status="running", subject_name=f"{word}-rank v1", lineage=lineage,
        step="bring_up", started_at=now, lineage_key=f"{project.pk}:{lineage.model_name}",
        service_key=f"held-by-{project.pk}", **told,
    )  # fmt: skip
    return running


def _findings(word: str, project: Project, lineage: RegisteredModel) -> Finding:
    now = database_now()
    seen = {
        "project": project, "first_seen_at": now, "last_seen_at": now,
        "evidence": {"display_name": f"{word}-rank"}, "repair": f"Repair {word}.",
    }  # fmt: skip
    Finding.objects.create(
        kind="stale_pointer", subject=f"{word}/1", title=f"{word}-rank is gone", status="ignored",
        ignored_by=f"{word}-person", ignored_reason=f"{word} knows", registered_model=lineage,
        **seen,
    )  # fmt: skip
    finding: Finding = Finding.objects.create(
        kind="unmanaged", subject=f"projects/p/locations/europe-central2/models/{project.pk}",
        title=f"{word}-rank is in Vertex AI", **seen,
    )  # fmt: skip
    return finding


def sweep_of_all(*tenants: Tenant) -> Sweep:
    """A sweep that a person of the last one asked for, and that left a row of each out."""
    held = [LeftOut(f"{one.word}-rank", "it is newer", one.project.pk) for one in tenants]
    counts = {"rows": 900, "registered": 900, "vertex": 900, "gcs": 900, "cloud_run": 900}
    sweep = finished_sweep(
        database_now(),
        actor_label=tenants[-1].member.username,
        counts=counts | tell_left_out(held),
    )
    for one in tenants:
        MirroredModel.objects.create(
            model_id=one.model.vertex_model_resource_name.rpartition("/")[2],
            resource_name=one.model.vertex_model_resource_name, display_name=one.model.model_name,
            version="1", seen_sweep=sweep, seen_at=database_now(),
        )  # fmt: skip
        MirroredService.objects.create(
            service_name=one.endpoint.service_name, seen_sweep=sweep, seen_at=database_now()
        )
    return sweep
