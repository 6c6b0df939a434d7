"""Two databases in one Google project, with equal settings, project keys and model names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.test import override_settings

from ml_platform import kpis
from ml_platform.cloud import cloud_run, vertex
from ml_platform.cloud.names import ModelName, model_id
from ml_platform.cloud.types import RemoteModel
from ml_platform.models import Finding, MirroredModel, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import OperationStatus, Registration
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.installation.identity import current
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.ownership import uid_labels
from ml_platform.services.ownership.labels import INSTALLATION, OWNER, RUN, labels_for
from ml_platform.services.ownership.service_names import service_name
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.registration.register import register_run
from ml_platform.services.registry.lineages import lineage_uid
from ml_platform.services.serving.config import ServingConfig, service_spec
from ml_platform.services.sweeps import audit
from ml_platform.services.sweeps.operation import check_registry
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
)

from .installations import MARKER, another_database
from .world import ANA, BUCKET, Clock, a_lineage, a_run, registered_lineage, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
PROJECT = 70_007


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock(now=cloud.clock.now())


def models() -> dict[str, RemoteModel]:
    return {model.name.model_id: model for page in vertex.list_models() for model in page}


def an_upload_was_sent(clock: Clock, *, project: int, name: str) -> Operation:
    """A registration of that name failed after its upload, which may still appear."""
    return Operation.objects.create(
        kind="register",
        status="failed",
        actor_label="a",
        finished_at=clock(),
        lineage_key=f"{project}:{name}",
        steps=[{"step": "upload"}],
    )


def look(clock: Clock) -> Any:
    clock.forward(600)
    return sweep(actor=ANA, clock=clock)


@pytest.fixture
def first(cloud: LocalCloud, clock: Clock) -> tuple[RemoteModel, str]:
    """What the first installation registered and serves, and the name of its service; the test
    goes on as the second one."""
    lineage, [run] = registered_lineage(cloud, clock, project=ProjectFactory.create(pk=PROJECT))
    name = service_name(
        project="p", model=lineage.model_name, installation="tests", lineage=lineage.uid
    )
    labels = labels_for(lineage=lineage.uid, run=run.uid, endpoint=current().uid)
    uri = f"{run.gcs_artifacts_path}pushed_model/1"
    spec = service_spec(ServingConfig(image="image"), artifact_uri=uri, labels=labels)
    cloud_run.create_service(name, spec)
    another_database()
    [model] = models().values()
    return model, name


def test_both_register_and_neither_uploads_into_the_others_model(
    cloud: LocalCloud, clock: Clock, first: tuple[RemoteModel, str]
):
    theirs, service = first
    run = a_run(cloud, project_id=PROJECT)
    register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    assert run.registration == Registration.REGISTERED
    found = models()
    assert len(found) == 2
    assert found.pop(theirs.name.model_id) == theirs
    [ours] = found.values()
    assert ours.display_name == theirs.display_name
    assert (ours.labels[OWNER], theirs.labels[OWNER]) == ("tests", "tests")
    assert (ours.labels[INSTALLATION], ours.labels[RUN]) == (current().uid.hex, run.uid.hex)
    assert theirs.labels[INSTALLATION] != current().uid.hex
    lineage = RegisteredModel.objects.get()
    name = service_name(
        project="p", model=lineage.model_name, installation="tests", lineage=lineage.uid
    )
    assert name != service


def test_a_name_of_an_old_release_that_was_never_registered_gets_an_id_of_its_own(
    cloud: LocalCloud, clock: Clock, first: tuple[RemoteModel, str]
):
    theirs, _ = first
    shared = UUID(theirs.name.model_id.split("-")[1])  # derived from project and name alone
    run = a_run(cloud, project_id=PROJECT)
    row = RegisteredModelFactory.create(
        project_id=PROJECT, model_name=run.model_name, uid=shared, total_versions=0
    )
    sent = an_upload_was_sent(clock, project=PROJECT, name=run.model_name)
    opened = register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    opened.refresh_from_db()
    assert (opened.error_code, list(models())) == ("foreign_model", [theirs.name.model_id])
    row.refresh_from_db()
    assert row.uid == shared  # an upload with this id may still appear
    sent.delete()
    register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    row.refresh_from_db()
    assert (run.registration, run.registered_model) == (Registration.REGISTERED, row)
    assert row.uid == lineage_uid(project_id=PROJECT, model_name=run.model_name) != shared
    assert models().pop(theirs.name.model_id) == theirs
    assert len(models()) == 2


def test_what_belongs_to_the_other_is_shown_as_theirs_and_is_no_finding(
    cloud: LocalCloud, clock: Clock, first: tuple[RemoteModel, str]
):
    theirs, _ = first
    done = look(clock)
    assert Finding.objects.count() == 0
    assert (done.counts["vertex"], done.counts["cloud_run"]) == (0, 0)
    assert done.counts["theirs"] == {"vertex": 1, "cloud_run": 1, "scheduler": 0}
    assert audit.compare_sweep(done) == audit.AuditVerdict.AGREE
    [row] = audit.vertex_rows(done)
    assert (row.id, row.verdict) == (theirs.name.model_id, "another_installation")
    counts = kpis.four_counts()
    assert (counts.database, counts.vertex, counts.agree) == (0, 0, True)


def test_a_name_alone_tells_another_installation_too(cloud: LocalCloud, clock: Clock):
    cloud.models.seed("77", display_name="theirs", labels={OWNER: "another"})
    labels = {OWNER: "another", "mlp_endpoint": "f" * 32}
    spec = service_spec(
        ServingConfig(image="image"), artifact_uri=f"gs://{BUCKET}/x", labels=labels
    )
    cloud_run.create_service("theirs", spec)
    assert look(clock).counts["theirs"] == {"vertex": 1, "cloud_run": 1, "scheduler": 0}
    assert Finding.objects.count() == 0


def test_what_is_theirs_cannot_be_adopted(
    cloud: LocalCloud, clock: Clock, first: tuple[RemoteModel, str]
):
    theirs, _ = first
    project = ProjectFactory.create()
    operation = adopt_model(
        resource_name=str(theirs.name), project=project, model_name="mine", actor=ANA, now=clock()
    )
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "managed_model")
    assert models() == {theirs.name.model_id: theirs}


def test_labels_of_a_release_without_uids_are_ours_while_our_tables_have_the_run(
    cloud: LocalCloud, clock: Clock
):
    _, [run] = a_lineage(cloud, clock)
    name = ModelName.parse(run.vertex_model_resource_name).at("1")
    labels = dict(vertex.get_model(name).labels)
    del labels[INSTALLATION]
    vertex.update_model_labels(name, labels)
    look(clock)
    assert Finding.objects.count() == 0
    again = a_run(cloud, project=run.project)
    register_run(run=again, actor=ANA, now=clock())
    settle(clock)
    again.refresh_from_db()
    assert (again.registration, again.vertex_model_version) == (Registration.REGISTERED, "2")


def test_a_model_whose_old_labels_name_a_run_of_another_database_gets_no_version(
    cloud: LocalCloud, clock: Clock
):
    """Both databases are of a release before there were uids: their lineages have equal uids, and
    ours keeps it, because an upload of it was sent."""
    lineage, [run] = a_lineage(cloud, clock)
    uid, project = lineage.uid, run.project
    name = ModelName.parse(run.vertex_model_resource_name).at("1")
    vertex.update_model_labels(name, {OWNER: "tests", RUN: run.uid.hex})
    another_database()
    RegisteredModel.objects.create(project=project, model_name="chern", model_type="", uid=uid)
    an_upload_was_sent(clock, project=project.pk, name="chern")
    mine = a_run(cloud, project=project)
    operation = register_run(run=mine, actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "foreign_model")
    pages = vertex.list_model_versions(name.bare)
    assert [version.version for page in pages for version in page] == ["1"]


def test_an_upload_that_an_earlier_release_sent_is_looked_for_under_its_id(
    cloud: LocalCloud, clock: Clock
):
    """It derived the id of a model's first version from the project and the name alone."""
    run = a_run(cloud)
    operation = register_run(run=run, actor=ANA, now=clock())
    old = model_id(run.uid, 1)
    cloud.models.seed(
        old, display_name="chern", labels={OWNER: "tests", RUN: run.uid.hex}, versions=[1]
    )
    operation.data = {"v": 1, "model_id": old, "uploading_since": clock().isoformat()}
    operation.step = "look_up"
    operation.save()
    settle(clock)
    operation.refresh_from_db()
    run.refresh_from_db()
    assert operation.status == OperationStatus.SUCCEEDED
    assert ModelName.parse(run.vertex_model_resource_name).model_id == old
    assert list(models()) == [old]


def test_a_copy_of_a_service_that_serves_is_a_finding_without_a_repair(
    cloud: LocalCloud, clock: Clock
):
    lineage, [run] = a_lineage(cloud, clock)
    endpoint = DeployedEndpointFactory.create(
        registered_model=lineage, run=run, service_name="chern-svc", serving=True
    )
    labels = labels_for(lineage=lineage.uid, run=run.uid, endpoint=endpoint.uid)
    for name in ("chern-svc", "my-copy"):
        uri = f"{run.gcs_artifacts_path}pushed_model/1"
        spec = service_spec(ServingConfig(image="image"), artifact_uri=uri, labels=labels)
        cloud_run.create_service(name, spec)
    look(clock)
    finding = Finding.objects.open().get(kind=FindingKind.LEFTOVER_SERVICE)
    assert finding.subject == "service my-copy"
    assert "it is a copy" in finding.title
    assert finding.registered_model is None


def test_a_sweep_forgets_who_a_model_was_when_its_labels_change(cloud: LocalCloud, clock: Clock):
    name = cloud.models.seed("77", display_name="m", labels={OWNER: "another"}, versions=[1])
    look(clock)
    assert MirroredModel.objects.get().theirs
    vertex.update_model_labels(ModelName.parse(name).at("1"), {})
    look(clock)
    assert not MirroredModel.objects.get().theirs
    assert Finding.objects.open().get().kind == FindingKind.UNMANAGED


def test_another_name_in_the_settings_is_no_other_installation(cloud: LocalCloud, clock: Clock):
    from django.conf import settings

    a_lineage(cloud, clock)
    with override_settings(ML_PLATFORM={**settings.ML_PLATFORM, "INSTALLATION": "renamed"}):
        look(clock)
        assert not MirroredModel.objects.get().theirs
    assert TrainingRun.objects.get().registration == Registration.REGISTERED


@pytest.mark.slow
def test_a_sweep_has_old_labels_relabeled_slowly_and_keeps_those_of_others(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(uid_labels, "PER_MINUTE", 2)
    _, runs = a_lineage(cloud, clock, versions=5)
    model = ModelName.parse(runs[0].vertex_model_resource_name)
    names = [model.at(run.vertex_model_version) for run in runs]
    for name in names:
        labels = {k: v for k, v in vertex.get_model(name).labels.items() if k != INSTALLATION}
        vertex.update_model_labels(name, {**labels, "team": "shop"})
    vertex.update_model_labels(names[1], {"team": "shop"})  # nobody's now
    clock.forward(600)
    cloud.effects.reset()
    check_registry(actor=ANA, clock=clock)
    resume_operations(clock=clock)
    resume_operations(clock=clock)
    operation = Operation.objects.get(workflow="label-installation")
    assert operation.status == OperationStatus.RUNNING
    assert cloud.effects.count("ModelService.UpdateModel") <= 2
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.data["done"]) == ("succeeded", 4)
    found = [vertex.get_model(name).labels for name in names]
    ours = [one.get(INSTALLATION) == current().uid.hex for one in found]
    assert ours == [True, False, True, True, True]
    assert {one["team"] for one in found} == {"shop"}
    assert [one[RUN] for one in found if RUN in one] == [r.uid.hex for r in runs if r != runs[1]]
    check_registry(actor=ANA, clock=clock)
    settle(clock)
    assert Operation.objects.filter(workflow="label-installation").count() == 1


def test_a_copy_of_the_database_relabels_nothing(cloud: LocalCloud, clock: Clock):
    _, [run] = a_lineage(cloud, clock)
    name = ModelName.parse(run.vertex_model_resource_name).at("1")
    labels = {k: v for k, v in vertex.get_model(name).labels.items() if k != INSTALLATION}
    vertex.update_model_labels(name, labels)
    cloud.storage.write(BUCKET, MARKER, b'{"uid": "abc", "nonce": "1", "name": "tests"}')
    clock.forward(600)
    check_registry(actor=ANA, clock=clock)
    settle(clock)
    operation = Operation.objects.get(workflow="label-installation")
    assert (operation.status, operation.error_code) == ("failed", "installation_unconfirmed")
    assert vertex.get_model(name).labels == labels


@pytest.mark.slow
def test_a_label_that_a_person_sets_while_ours_is_written_stays(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    _, [run] = a_lineage(cloud, clock)
    name = ModelName.parse(run.vertex_model_resource_name).at("1")
    labels = {k: v for k, v in vertex.get_model(name).labels.items() if k != INSTALLATION}
    vertex.update_model_labels(name, labels)
    clock.forward(600)
    check_registry(actor=ANA, clock=clock)
    write = vertex.update_model_labels

    def after_a_person(*args: Any, **more: Any) -> RemoteModel:
        monkeypatch.undo()
        write(name, {**labels, "team": "shop"})
        return write(*args, **more)

    monkeypatch.setattr(vertex, "update_model_labels", after_a_person)
    settle(clock)
    assert vertex.get_model(name).labels == {**labels, "team": "shop"}
    clock.forward(600)
    check_registry(actor=ANA, clock=clock)
    settle(clock)
    found = vertex.get_model(name).labels
    assert (found["team"], found[INSTALLATION]) == ("shop", current().uid.hex)
