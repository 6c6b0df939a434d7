"""A person's copy with our labels: a finding to decide about, which no repair deletes."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import transaction
from django.test import Client

from ml_platform.cloud import cloud_run, vertex
from ml_platform.cloud.names import ModelName, model_id
from ml_platform.errors import CloudAbsent
from ml_platform.models import DeployedEndpoint, Finding, Operation, RegisteredModel, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.models.states import FindingStatus, Registration
from ml_platform.services.findings.discrepancy import compare_surplus
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import note_finding
from ml_platform.services.operations.store import open_operation
from ml_platform.services.operations.subjects import subject_of_lineage
from ml_platform.services.ownership.labels import labels_for
from ml_platform.services.ownership.own_resources import CopiedModel
from ml_platform.services.ownership.service_names import service_name
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.registry.lineages import clear_pointer, sync_version_cache
from ml_platform.services.repairs.duplicate_versions import FIRST_STEP, purge_surplus
from ml_platform.services.repairs.reconciliation import NoRepair, finish_operation, repair_finding
from ml_platform.services.serving.config import ServingConfig, service_spec
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.factories import DeployedEndpointFactory, ProjectFactory
from ml_platform.tests.services.vertex_rows import managed
from ml_platform.tests.services.world import ANA, no_pause

from .api_tools import bearer, post

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud
    from ml_platform.models import Operation

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
URI = "gs://demo-artifacts/mine/pushed_model/1"


def look() -> None:
    sweep(actor=ANA, clock=database_now)


def delete(lineage: RegisteredModel, run: TrainingRun) -> None:
    """Its version was deleted through our door, by our rows; Vertex AI holds nothing of it."""
    vertex.delete_model(ModelName.parse(lineage.vertex_model_resource_name))
    with transaction.atomic():
        clear_pointer(run=run, registration=Registration.DELETED)
    RegisteredModel.objects.filter(pk=lineage.pk).update(generation=2)
    sync_version_cache(registered_model=lineage)


def seed(cloud: LocalCloud, id_: str, lineage: RegisteredModel, run: TrainingRun) -> ModelName:
    """A model under that id with the labels of the run's version, as a copy has them."""
    labels = labels_for(lineage=lineage.uid, generation=1, run=run.uid)
    name = cloud.models.seed(id_, display_name="mine", labels=labels, artifact_uri=URI)
    return ModelName.parse(name)


def finish(operation: Operation) -> Operation:
    return finish_operation(operation=operation, clock=database_now, pause=no_pause)


def versions(name: ModelName) -> list[str]:
    return sorted(v.version for page in vertex.list_model_versions(name) for v in page)


IDS = ["4711", "mine", "NEXT", "OTHERS"]


def id_of(kind: str, lineage: RegisteredModel) -> str:
    others = {"NEXT": model_id(lineage.uid, 9), "OTHERS": f"mr-{'0' * 32}-1"}
    return others.get(kind, kind)


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("deleted", [False, True], ids=["registered", "deleted"])
def test_a_copy_under_another_id_is_a_persons_to_decide_about(
    cloud: LocalCloud, kind: str, deleted: bool
) -> None:
    lineage = managed(cloud)
    run = lineage.training_runs.get()
    if deleted:
        delete(lineage, run)
    name = seed(cloud, id_of(kind, lineage), lineage, run)
    cloud.effects.reset()
    look()
    finding = Finding.objects.open().get()
    assert (finding.kind, finding.registered_model) == (FindingKind.UNMANAGED, None)
    assert finding.project == lineage.project
    assert "a copy of" in finding.title
    said = finding.evidence
    assert said["resource_name"] == str(name)
    assert said["copy_of"] == f"{run.model_name} v{run.version}"
    assert (said["vertex_label_mlp_owner"], said["vertex_label_mlp_run"]) == ("tests", run.uid.hex)
    assert said["artifact_uri"] == URI
    assert said["vertex_created_at"]
    assert "No automatic repair" in finding.repair
    with pytest.raises(NoRepair):
        repair_finding(finding=finding, actor=ANA, now=database_now())
    with pytest.raises(CopiedModel):
        purge_surplus(
            registered_model=lineage, resource_name=str(name), actor=ANA, now=database_now()
        )
    assert cloud.effects.mutations() == []


@pytest.mark.slow
def test_no_door_deletes_a_copy(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    name = seed(cloud, "mine", lineage, lineage.training_runs.get())
    cloud.effects.reset()
    look()
    finding = Finding.objects.open().get()
    root = get_user_model().objects.create_superuser("root", password="pw")
    refused = post(bearer(root), f"/api/audit/findings/{finding.pk}/repair/", {"action": "repair"})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_safe_repair")
    client = Client()
    client.force_login(root)
    assert client.post(f"/do/repair-finding/{finding.pk}/").status_code == 409
    page = client.get(f"/registry-health/findings/{finding.pk}/").content.decode()
    assert "Adopt it" in page
    assert "to delete it from Vertex AI" not in page  # its labels are ours: only the console may
    with suppress(SystemExit):
        call_command("reconcile_registry", "--yes", stdout=io.StringIO(), stderr=io.StringIO())
    assert cloud.effects.mutations() == []
    assert versions(name) == ["1"]
    assert Finding.objects.open().get().pk == finding.pk


@pytest.mark.slow
def test_a_copy_may_be_adopted(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    name = seed(cloud, "mine", lineage, lineage.training_runs.get())
    look()
    operation = adopt_model(
        resource_name=str(name),
        project=ProjectFactory(),
        model_name="mine",
        actor=ANA,
        now=database_now(),
    )
    assert finish(operation).status == "succeeded"
    look()
    assert not Finding.objects.open().exists()
    assert RegisteredModel.objects.registered().count() == 2


def test_a_late_upload_under_an_earlier_id_of_ours_is_surplus_still(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    run = lineage.training_runs.get()
    delete(lineage, run)
    name = seed(cloud, model_id(lineage.uid, 1), lineage, run)
    look()
    finding = Finding.objects.open().get()
    assert finding.kind == FindingKind.SURPLUS_VERSION
    finish(repair_finding(finding=finding, actor=ANA, now=database_now()))
    with pytest.raises(CloudAbsent):
        versions(name)


def test_what_an_earlier_release_took_for_surplus_is_refused_at_the_effect_too(
    cloud: LocalCloud,
) -> None:
    """Its finding ends at the next sweep, and its operation deletes nothing."""
    lineage = managed(cloud)
    run = lineage.training_runs.get()
    name = seed(cloud, "mine", lineage, run)
    with transaction.atomic():
        found = compare_surplus(run, name.at("1"))
        note_finding(discrepancy=found, now=database_now())
    stale = Finding.objects.get()
    with pytest.raises(CopiedModel):
        repair_finding(finding=stale, actor=ANA, now=database_now())
    for step, data in ((FIRST_STEP, {}), ("purge", {"target": str(name)})):
        cloud.effects.reset()
        operation, _ = open_operation(
            workflow=WORKFLOWS["delete-duplicate-versions"],
            subject=subject_of_lineage(lineage),
            actor=ANA,
            now=database_now(),
            state=WORKFLOWS["delete-duplicate-versions"].state.load({"name": str(name), **data}),
        )
        Operation.objects.filter(pk=operation.pk).update(step=step)
        finish(operation)
        assert (operation.status, operation.error_code) == ("failed", "copied_model")
        assert cloud.effects.mutations() == []
    look()
    stale.refresh_from_db()
    assert stale.status == FindingStatus.GONE
    assert Finding.objects.open().get().kind == FindingKind.UNMANAGED


def test_a_model_of_another_project_or_location_is_no_model_of_ours(cloud: LocalCloud) -> None:
    """Somebody copied the registry: the ids are equal, the places are not."""
    lineage = managed(cloud)
    run = lineage.training_runs.get()
    name = ModelName.parse(run.vertex_model_resource_name)
    moved = [replace(name, location="us-east1"), replace(name, project="424242")]
    for there in moved:
        TrainingRun.objects.update(vertex_model_resource_name=str(there))
        sync_version_cache(registered_model=lineage)
        here = replace(name, project="123456") if there.project == "424242" else name
        with pytest.raises(CopiedModel):
            purge_surplus(
                registered_model=lineage, resource_name=str(here), actor=ANA, now=database_now()
            )


@pytest.mark.slow
def test_labels_of_another_models_run_do_not_make_a_version_surplus(cloud: LocalCloud) -> None:
    lineage, other = managed(cloud), managed(cloud)
    run, theirs = lineage.training_runs.get(), other.training_runs.get()
    name = ModelName.parse(lineage.vertex_model_resource_name)
    for labelled in (theirs, run):  # the second is surplus, the default, and so found
        vertex.upload_model(
            display_name="x",
            artifact_uri=run.gcs_artifacts_path + "pushed_model/1",
            serving_image="image",
            labels=labels_for(lineage=other.uid, run=labelled.uid),
            parent_model=name,
        )
    look()
    finding = Finding.objects.open().get(kind=FindingKind.SURPLUS_VERSION)
    finish(repair_finding(finding=finding, actor=ANA, now=database_now()))
    assert versions(name) == ["1", "2"]


@pytest.mark.parametrize("end", [None, Registration.DELETED], ids=["registered", "deleted"])
def test_a_second_version_of_an_adopted_model_is_a_persons(
    cloud: LocalCloud, end: Registration | None
) -> None:
    """We never uploaded it, so that its labels on another version were copied."""
    name = ModelName.parse(cloud.models.seed("77", display_name="theirs", artifact_uri=URI))
    adopted = adopt_model(
        resource_name=str(name),
        project=ProjectFactory(),
        model_name="theirs",
        actor=ANA,
        now=database_now(),
    )
    assert finish(adopted).status == "succeeded"
    lineage = RegisteredModel.objects.get()
    run = lineage.training_runs.get()
    cloud.storage.write("demo-artifacts", "mine/pushed_model/1/saved_model.pb", b"x")
    vertex.upload_model(
        display_name="theirs",
        artifact_uri=URI,
        serving_image="image",
        labels=dict(vertex.get_model(name).labels),
        parent_model=name,
    )
    if end:
        with transaction.atomic():
            clear_pointer(run=run, registration=end)
        sync_version_cache(registered_model=lineage)
    look()
    assert not Finding.objects.filter(kind=FindingKind.SURPLUS_VERSION).exists()
    finish(
        purge_surplus(
            registered_model=lineage, resource_name=str(name), actor=ANA, now=database_now()
        )
    )
    # Of a deleted version the very thing that was deleted may go, and nothing else.
    assert versions(name) == (["2"] if end else ["1", "2"])


# ---- services ------------------------------------------------------------------------------------


def serve(name: str, labels: dict[str, str]) -> None:
    spec = service_spec(ServingConfig(image="image"), artifact_uri=URI, labels=labels)
    cloud_run.create_service(name, spec)


@pytest.mark.parametrize("row", ["stopped", "deleted"])
def test_a_copy_of_a_service_is_nobodys_to_delete(cloud: LocalCloud, row: str) -> None:
    lineage = managed(cloud)
    run = lineage.training_runs.get()
    endpoint = DeployedEndpointFactory.create(
        registered_model=lineage, run=run, service_name="chern-svc", state="inactive"
    )
    DeployedEndpoint.objects.update(is_active=False)
    serve("my-copy", labels_for(lineage=lineage.uid, run=run.uid, endpoint=endpoint.uid))
    if row == "deleted":
        endpoint.delete()
    look()
    finding = Finding.objects.open().get(kind=FindingKind.LEFTOVER_SERVICE)
    assert finding.registered_model is None
    with pytest.raises(NoRepair):
        repair_finding(finding=finding, actor=ANA, now=database_now())
    # A finding of an earlier release, or one that a copy got in the way of.
    Finding.objects.update(registered_model=lineage)
    finding.refresh_from_db()
    finish(repair_finding(finding=finding, actor=ANA, now=database_now()))
    assert cloud.effects.count("Services.DeleteService") == 0
    finding.refresh_from_db()
    assert finding.status == FindingStatus.GONE


@pytest.mark.parametrize("number", [1, 3])
def test_a_service_under_a_name_that_we_make_is_left_over_still(
    cloud: LocalCloud, number: int
) -> None:
    """Its row is gone, the project was renamed; the hash at the end is the model's."""
    lineage = managed(cloud)
    run = lineage.training_runs.get()
    name = service_name(
        project="once",
        model=lineage.model_name,
        installation="tests",
        lineage=lineage.uid,
        number=number,
    )
    serve(name, labels_for(lineage=lineage.uid, run=run.uid))
    look()
    finding = Finding.objects.open().get(kind=FindingKind.LEFTOVER_SERVICE)
    finish(repair_finding(finding=finding, actor=ANA, now=database_now()))
    assert cloud.effects.count("Services.DeleteService") == 1
