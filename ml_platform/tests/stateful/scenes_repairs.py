"""Scenes for the kill harness: what disagrees is repaired, what nobody needs is cleaned up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction
from google.cloud.run_v2.types import service as service_types

from ml_platform.cloud import cloud_run, scheduler, storage, vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.transport import channels
from ml_platform.cloud.types import ServiceSpec
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    Operation,
    Project,
    RegisteredModel,
    TrainingRun,
)
from ml_platform.models.states import OperationKind
from ml_platform.services.cleanup.artifacts import clean_up_artifacts
from ml_platform.services.cleanup.orphans import clean_up_orphan, clean_up_orphans
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deployment.endpoint_state import mark_version_lost, record_stopped
from ml_platform.services.findings.kinds import FindingKind, Kind
from ml_platform.services.metrics.service_metrics import collect_metrics
from ml_platform.services.ownership.labels import labels_for
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.repairs.duplicate_versions import purge_surplus
from ml_platform.services.repairs.labels import relabel_version
from ml_platform.services.repairs.pointers import clear_stale_pointers, restore_lost_versions
from ml_platform.services.repairs.reconciliation import repair_finding
from ml_platform.services.repairs.service_labels import relabel_service
from ml_platform.services.repairs.services import look_at_service
from ml_platform.services.repairs.unmanaged_models import delete_unmanaged_model
from ml_platform.services.sweeps.operation import check_registry
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import RegisteredModelFactory, TrainingRunFactory
from ml_platform.tests.services.people import edit_service, hold

from . import planes
from .scenes_serving import serving
from .scenes_versions import versions
from .world import BO, START, Facts, Hands, World, prefix_of, settle

THEIRS = "projects/123456789012/locations/europe-central2/models/4711"


def orphan(world: World) -> Facts:
    lineage = RegisteredModelFactory(project=world.project, model_name="orphan")
    run = TrainingRunFactory(
        failed=True, project=world.project, model_name="orphan", registered_model=lineage
    )
    return {"lineage": lineage.pk, "run": run.pk}


def clean_up(hands: Hands, facts: Facts) -> None:
    if lineage := RegisteredModel.objects.filter(pk=facts["lineage"]).first():
        clean_up_orphan(registered_model=lineage, actor=BO, now=hands.now())
    settle(hands)


def clean_up_all(hands: Hands, facts: Facts) -> None:
    del facts
    clean_up_orphans(days=1, actor=BO, clock=hands.now, idempotency_key="all")
    settle(hands)


def stale(world: World) -> Facts:
    facts = versions(2)(world)
    lineage = RegisteredModel.objects.get(pk=facts["lineage"])
    world.vanish(ModelName.parse(lineage.vertex_model_resource_name).model_id)
    return facts


def repair(hands: Hands, facts: Facts) -> None:
    lineage = RegisteredModel.objects.get(pk=facts["lineage"])
    if lineage.vertex_model_resource_name:
        clear_stale_pointers(registered_model=lineage, actor=BO, now=hands.now())
    settle(hands)


def unmanaged(world: World) -> Facts:
    world.cloud.models.seed("4711", display_name="theirs", versions=[1, 2])
    return {"project": world.project.pk}


def adopt(hands: Hands, facts: Facts) -> None:
    if not RegisteredModel.objects.exists():
        adopt_model(
            resource_name=THEIRS,
            project=Project.objects.get(pk=facts["project"]),
            model_name="adopted",
            actor=BO,
            now=hands.now(),
        )
    settle(hands)


def unmanaged_and_serving(world: World) -> Facts:
    """A model of others, and the service on Cloud Run that others made for it."""
    uri = f"gs://{planes.BUCKET}/theirs/1"
    world.cloud.storage.write(planes.BUCKET, "theirs/1/saved_model.pb", b"theirs")
    world.cloud.models.seed("4711", display_name="theirs", artifact_uri=uri)
    spec = ServiceSpec(image="theirs", labels={"team": "red"}, env={ARTIFACT_ENV: uri})
    cloud_run.create_service("theirs-live", spec)
    world.forward(300)
    return {"project": world.project.pk}


def adopt_with_service(hands: Hands, facts: Facts) -> None:
    if not RegisteredModel.objects.exists():
        adopt_model(
            resource_name=THEIRS,
            project=Project.objects.get(pk=facts["project"]),
            model_name="adopted",
            service_name="theirs-live",
            actor=BO,
            now=hands.now(),
        )
    settle(hands)


def delete_theirs(hands: Hands, facts: Facts) -> None:
    """A person decides that a model which nobody manages goes."""
    del facts
    if not Operation.objects.filter(kind=OperationKind.REPAIR).exists():
        delete_unmanaged_model(resource_name=THEIRS, actor=BO, now=hands.now())
    settle(hands)


def without_labels(world: World) -> Facts:
    """A person replaced the labels of a version."""
    facts = versions(2)(world)
    run = TrainingRun.objects.get(pk=facts["run"])
    name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    vertex.update_model_labels(name, {"team": "red"})
    TrainingRun.objects.filter(pk=run.pk).update(registered_at=world.now())
    return facts


def service_without_labels(world: World) -> Facts:
    """A person replaced the labels of a service."""
    facts = serving(world)
    endpoint = DeployedEndpoint.objects.get(pk=facts["endpoint"])
    edit_service(endpoint.service_name, lambda service: service.labels.clear())
    return facts


def given_other_files(world: World) -> Facts:
    """A person gave a service the files of the other version, and a sweep saw it."""
    facts = serving(world)
    world.forward(300)
    other = TrainingRun.objects.get(pk=facts["run"])

    def change(service: Any) -> None:
        (variable,) = [e for e in service.template.containers[0].env if e.name == ARTIFACT_ENV]
        variable.value = f"{other.gcs_artifacts_path}pushed_model/1"

    edit_service(DeployedEndpoint.objects.get().service_name, change)
    sweep(actor=BO, clock=world.now)
    finding = Finding.objects.open().get(kind=FindingKind.SERVICE_CHANGED)
    return facts | {"finding": finding.pk}


def relabel(hands: Hands, facts: Facts) -> None:
    if Operation.objects.filter(kind=OperationKind.REPAIR).exists():
        pass  # it was asked for
    elif "endpoint" in facts:
        endpoint = DeployedEndpoint.objects.get(pk=facts["endpoint"])
        relabel_service(endpoint=endpoint, actor=BO, now=hands.now())
    else:
        run = TrainingRun.objects.get(pk=facts["run"])
        lineage = RegisteredModel.objects.get(pk=facts["lineage"])
        relabel_version(run=run, registered_model=lineage, actor=BO, now=hands.now())
    settle(hands)


def lost(world: World) -> Facts:
    """A version was recorded as lost, and is there."""
    facts = versions(2)(world)
    with transaction.atomic():
        mark_version_lost(run_id=facts["first"])
    world.forward(300)
    return facts


def bring_back(hands: Hands, facts: Facts) -> None:
    lineage = RegisteredModel.objects.get(pk=facts["lineage"])
    if not Operation.objects.filter(kind=OperationKind.REPAIR).exists():
        restore_lost_versions(registered_model=lineage, actor=BO, now=hands.now())
    settle(hands)


def without_service(world: World) -> Facts:
    facts = serving(world)
    world.forward(300)
    name = f"{channels.location_path()}/services/{DeployedEndpoint.objects.get().service_name}"
    with world.as_a_person("Services.DeleteService"):
        world.cloud.run.delete_service(service_types.DeleteServiceRequest(name=name))
    return facts


def look(hands: Hands, facts: Facts) -> None:
    endpoint = DeployedEndpoint.objects.get(pk=facts["endpoint"])
    if not Operation.objects.filter(kind=OperationKind.REPAIR).exists():
        look_at_service(endpoint=endpoint, actor=BO, now=hands.now())
    settle(hands)


def surplus(world: World) -> Facts:
    """A late upload made a run a version twice, and the second one is the default."""
    facts = versions(2)(world)
    run = TrainingRun.objects.get(pk=facts["first"])
    lineage = RegisteredModel.objects.get(pk=facts["lineage"])
    vertex.upload_model(
        display_name=lineage.model_name,
        artifact_uri=f"{run.gcs_artifacts_path}pushed_model/1",
        serving_image="image",
        labels=labels_for(lineage=lineage.uid, run=run.uid),
        parent_model=ModelName.parse(lineage.vertex_model_resource_name),
    )
    TrainingRun.objects.update(aliases=[])
    world.forward(300)
    return facts


def purge(hands: Hands, facts: Facts) -> None:
    lineage = RegisteredModel.objects.get(pk=facts["lineage"])
    if not Operation.objects.filter(kind=OperationKind.CLEANUP).exists():
        name = lineage.vertex_model_resource_name
        purge_surplus(registered_model=lineage, resource_name=name, actor=BO, now=hands.now())
    settle(hands)


def leftover(world: World) -> Facts:
    """A service serves, and our row says that it was stopped."""
    facts = serving(world)
    with transaction.atomic():
        record_stopped(service=DeployedEndpoint.objects.get().service_name)
    world.forward(300)
    sweep(actor=BO, clock=world.now)
    finding = Finding.objects.open().get(kind=FindingKind.LEFTOVER_SERVICE)
    return facts | {"finding": finding.pk}


def left_files(world: World) -> Facts:
    """A version is deleted but for a file that was held then, and is not any more."""
    runs = world.a_lineage(versions=2)
    lineage = RegisteredModel.objects.get()
    ((name, _),) = planes.objects(world.cloud, prefix_of(runs[0]))
    hold(world.cloud, name)
    delete_versions(lineage=lineage, runs=runs[:1], actor=BO, now=world.now())
    settle(world)
    hold(world.cloud, name, on=False)
    return {"finding": Finding.objects.get(kind=FindingKind.ARTIFACTS_LEFT).pk}


def other_files(world: World) -> Facts:
    """A person overwrote one of two files of a version, and deleted the other."""
    [run] = world.a_lineage(versions=1)
    second = f"{prefix_of(run)}pushed_model/1/variables/index"
    world.cloud.storage.write(planes.BUCKET, second, b"index")
    sweep(actor=BO, clock=world.now)  # it takes the manifest
    world.forward(60)
    world.write(run, "pushed_model/1/saved_model.pb", b"other")
    storage.delete_objects(planes.BUCKET, list(planes.objects(world.cloud, second)))
    sweep(actor=BO, clock=world.now)
    return {"finding": Finding.objects.open().get().pk}


def repair_found(hands: Hands, facts: Facts, name: str = "") -> None:
    finding = Finding.objects.get(pk=facts["finding"])
    if finding.operation_id is None:
        repair_finding(finding=finding, repair=name, actor=BO, now=hands.now())
    settle(hands)


def repair_by(name: str) -> Callable[[Hands, Facts], None]:
    return lambda hands, facts: repair_found(hands, facts, name)


def moved_alias(world: World) -> Facts:
    """A person moved an alias in the console, and a sweep saw it."""
    facts = versions(2)(world)
    run = TrainingRun.objects.get(pk=facts["run"])
    name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    vertex.merge_version_aliases(name, ["blue"])
    return facts | _found(world, FindingKind.ALIAS_MOVED)


def more_versions(world: World) -> Facts:
    """A person uploaded a version by hand, and a sweep saw it."""
    facts = versions(1)(world)
    lineage = RegisteredModel.objects.get(pk=facts["lineage"])
    world.cloud.storage.write(planes.BUCKET, "theirs/1/saved_model.pb", b"theirs")
    vertex.upload_model(
        display_name=lineage.model_name,
        artifact_uri=f"gs://{planes.BUCKET}/theirs/1",
        serving_image="image",
        labels={"team": "red"},
        parent_model=ModelName.parse(lineage.vertex_model_resource_name),
    )
    return facts | _found(world, FindingKind.MORE_VERSIONS)


def _found(world: World, kind: Kind) -> Facts:
    world.forward(300)
    sweep(actor=BO, clock=world.now)
    return {"finding": Finding.objects.open().get(kind=kind).pk}


def paused_by_hand(prepare: Callable[[World], Facts]) -> Callable[[World], Facts]:
    """A person paused the one job in the console, and a sweep saw it."""

    def prepared(world: World) -> Facts:
        facts = prepare(world)
        [job] = [job for page in scheduler.list_jobs() for job in page]
        scheduler.pause_job(job.name.job_id)
        sweep(actor=BO, clock=world.now)
        return {**facts, "finding": Finding.objects.open().get().pk}

    return prepared


def old_folders(world: World) -> Facts:
    """A run that failed long ago and left files, and a folder of no run."""
    long_ago = START - timedelta(days=60)
    run = TrainingRunFactory(failed=True, project=world.project, finished_at=long_ago)
    TrainingRun.objects.update(created_at=long_ago)
    world.write(run)
    world.cloud.storage.write(planes.BUCKET, "runs/nobodys/saved_model.pb", b"stray")
    world.forward(timedelta(days=31).total_seconds())
    return {"run": run.pk}


def clean_up_folders(hands: Hands, facts: Facts) -> None:
    del facts
    clean_up_artifacts(
        days=30, delete_strays=True, actor=BO, clock=hands.now, idempotency_key="folders"
    )
    settle(hands)


def check(hands: Hands, facts: Facts) -> None:
    del facts
    check_registry(actor=BO, clock=hands.now, idempotency_key="check")
    settle(hands)


def collect(hands: Hands, facts: Facts) -> None:
    del facts
    collect_metrics(actor=BO, clock=hands.now, idempotency_key="metrics")
    settle(hands)
