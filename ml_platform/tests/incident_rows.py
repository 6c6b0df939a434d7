"""The incident as rows of our tables and of the mirror, for tests that need no cloud."""

from __future__ import annotations

from datetime import datetime, timedelta

from ml_platform.models import (
    DeployedEndpoint,
    EndpointTraffic,
    Finding,
    Manifest,
    MirroredModel,
    Operation,
    Project,
    RegisteredModel,
    Sweep,
)
from ml_platform.models.registry.manifest import FilesState
from ml_platform.models.states import OperationKind, OperationStatus, RegistryState, SweepStatus
from ml_platform.services.findings.kinds import FindingKind

from .factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    version_of,
)

REGISTERED = {
    "chern_retriv_v2": ("5241525861236080640", 1),
    "chern_retriv_v5": ("8920403806844354560", 5),
    "chern_rank_v1": ("6812719181234962432", 1),
    "chern_hybrid_v1": ("174413330490851328", 2),
    "chern_hybrid_v3": ("7115797362408161280", 1),
    "chern_rank_v3": ("2864962264123834368", 1),
    "chern_rank_v4": ("3326581225929310208", 4),
    "chern_retriv_v6": ("7334503419312340992", 1),
}
DELETED_IN_VERTEX = "chern_rank_v1"
NEVER_REGISTERED = ("chern_hybrid_v2", "short-test-20260129")
UNMANAGED = {
    "trd-test-20260129-123106": "252311530295525376",
    "trd-test-20260129-123928": "4998894431311495168",
}
ALL_READ = {
    name: {"read": True} for name in ("vertex", "gcs", "cloud_run", "scheduler", "vertex_endpoints")
}


def incident_rows(now: datetime) -> Project:
    """Ten lineages, nine models in the mirror, three endpoints of which two serve, findings."""
    project: Project = ProjectFactory.create(name="test_v1")
    for age, (name, (vertex_id, versions)) in enumerate(REGISTERED.items()):
        lineage = RegisteredModelFactory.create(project=project, model_name=name)
        for number in range(versions):
            at = now - timedelta(days=80 - 9 * age - number)
            version_of(lineage, vertex_id=vertex_id, registered_at=at)
    for name in NEVER_REGISTERED:
        lineage = RegisteredModelFactory.create(project=project, model_name=name)
        TrainingRunFactory.create(
            failed=True, project=project, registered_model=lineage, model_name=name
        )
    for name, serves in (
        ("chern_retriv_v5", True),
        ("chern_rank_v4", True),
        ("chern_rank_v3", False),
    ):
        lineage = RegisteredModel.objects.get(model_name=name)
        DeployedEndpointFactory.create(
            registered_model=lineage,
            service_name=name.replace("_", "-"),
            run=lineage.latest_run,
            serving=serves,
        )
    sweep = finished_sweep(now)
    _mirror(sweep, now)
    _findings(sweep, project, now)
    return project


def finished_sweep(now: datetime, **changes: object) -> Sweep:
    """A sweep that ended two minutes ago and read every plane, unless told otherwise."""
    values = {
        "status": SweepStatus.COMPLETE,
        "actor_label": "demo",
        "planes": ALL_READ,
        "started_at": now - timedelta(minutes=2, seconds=3),
        "finished_at": now - timedelta(minutes=2),
    }
    sweep: Sweep = Sweep.objects.create(**{**values, **changes})
    return sweep


def seen_to_serve(endpoint: DeployedEndpoint, now: datetime, **changes: object) -> None:
    """A finished sweep saw that all of the endpoint's traffic goes to its version, and verified
    that, unless told otherwise."""
    sweep, run = finished_sweep(now), endpoint.run
    assert run is not None
    RegisteredModel.objects.filter(pk=endpoint.registered_model_id).update(
        registry_state=RegistryState.VERIFIED, registry_checked_at=sweep.started_at
    )
    Manifest.objects.create(
        run=run, folder=f"{run.gcs_artifacts_path}pushed_model/1/", digest="d", file_count=1,
        total_bytes=1, taken_at=now, state=FilesState.VERIFIED,
    )  # fmt: skip
    values = {"revision": "r-1", "percent": 100, "run": run, "seen_at": sweep.started_at}
    EndpointTraffic.objects.create(endpoint=endpoint, **{**values, **changes})


def _mirror(sweep: Sweep, now: datetime) -> None:
    seen = {name: vertex_id for name, (vertex_id, _) in REGISTERED.items()} | UNMANAGED
    del seen[DELETED_IN_VERTEX]
    for name, vertex_id in seen.items():
        MirroredModel.objects.create(
            model_id=vertex_id,
            resource_name=f"projects/1/locations/europe-central2/models/{vertex_id}",
            display_name=name,
            version="1",
            seen_sweep=sweep,
            seen_at=now,
        )


def _findings(sweep: Sweep, project: Project, now: datetime) -> None:
    def add(kind: str, name: str, title: str, repair: str, mine: bool, **evidence: object) -> None:
        Finding.objects.create(
            kind=kind,
            subject=name,
            title=title,
            repair=repair,
            evidence=evidence,
            project=project if mine else None,
            first_sweep=sweep,
            last_sweep=sweep,
            first_seen_at=now - timedelta(days=3),
            last_seen_at=now - timedelta(minutes=2),
            consecutive_sightings=2,
        )

    add(
        FindingKind.STALE_POINTER,
        DELETED_IN_VERTEX,
        f"{DELETED_IN_VERTEX} points at a model that is not in Vertex AI",
        "Clear the pointer, after Vertex AI itself answers NOT_FOUND for that name.",
        True,
        resource_name="projects/b2b-recs/locations/europe-central2/models/6812719181234962432",
        versions=1,
    )
    for name, vertex_id in UNMANAGED.items():
        add(
            FindingKind.UNMANAGED,
            name,
            f"{name} is in Vertex AI only",
            "Adopt it into a project or delete it; nothing is done by itself.",
            False,
            model=vertex_id,
            bucket="b2b-recs-quicktest-artifacts",
        )
    for name in NEVER_REGISTERED:
        add(
            FindingKind.ORPHAN,
            name,
            f"{name} was never registered",
            "Delete the record; its ended schedule and failed run are kept.",
            True,
            runs="1 failed",
            created_at="2026-01-10",
        )


def operations_of(project: Project, now: datetime) -> list[Operation]:
    """One that runs, one that succeeded and one that failed."""

    def step(title: str, status: str, minutes: int, note: str = "") -> dict[str, str]:
        began = now - timedelta(minutes=minutes)
        ended = {"finished_at": (began + timedelta(seconds=4)).isoformat()}
        entry = {"step": title, "title": title, "status": status, "note": note}
        entry["started_at"] = began.isoformat()
        return entry if status == "waiting" else entry | ended

    common = {"project": project, "subject_type": "registered_model", "origin": "page"}
    return [
        Operation.objects.create(
            kind=OperationKind.REGISTER, status=OperationStatus.RUNNING,
            subject_name="chern_rank_v5", subject_id="11", actor_label="ana",
            created_at=now - timedelta(seconds=41), started_at=now - timedelta(seconds=41),
            steps=[step("Check the artifacts", "done", 1, "3 files, 84 MB"),
                   step("Upload to Vertex AI", "waiting", 0, "uploading to Vertex AI")],
            step="upload", **common,
        ),
        Operation.objects.create(
            kind=OperationKind.DELETE, status=OperationStatus.SUCCEEDED,
            subject_name="chern_rank_v1 v1", subject_id="3", actor_label="ana",
            created_at=now - timedelta(hours=3), started_at=now - timedelta(hours=3),
            finished_at=now - timedelta(hours=3) + timedelta(seconds=12),
            steps=[step("Mark", "done", 180), step("Delete the version", "done", 180),
                   step("Delete the artifacts", "done", 180, "12 objects, 84 MB")], **common,
        ),
        Operation.objects.create(
            kind=OperationKind.DEPLOY, status=OperationStatus.FAILED,
            subject_name="chern_hybrid_v3 v1", subject_id="6", actor_label="ben",
            created_at=now - timedelta(days=2), started_at=now - timedelta(days=2),
            finished_at=now - timedelta(days=2) + timedelta(seconds=4),
            error="Model not found in Vertex AI Model Registry. It may have been deleted.",
            error_code="cloud_absent", advice="Train it again, or restore it in the console.",
            steps=[step("Verify the model", "failed", 2880)], step="verify_model", **common,
        ),
    ]  # fmt: skip
