"""Numbers, names and effects that come a second time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import transaction
from django.db.models import ProtectedError

from ml_platform.cloud import pipelines, vertex
from ml_platform.cloud.answers import Absent, Present
from ml_platform.cloud.names import ModelName
from ml_platform.conf import get_settings
from ml_platform.errors import Conflict
from ml_platform.models import DeployedEndpoint, Manifest, Operation
from ml_platform.models.states import Registration, RunStatus
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deletion.plan import DeployedModel
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.registration.register import NotRegistrable, register_run
from ml_platform.services.registry.lineages import end_version, lock_version
from ml_platform.services.registry.verification import verify_gcs_artifacts_exist
from ml_platform.services.repairs.pointers import clear_stale_pointers
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
)

from .deploy_tools import A_WHILE, deployed, facts, finish, services, undeploy
from .test_surplus import late
from .training_tools import SPEC, CloudClock, poll
from .vertex_rows import managed
from .world import ANA, BUCKET, Clock, a_lineage, a_run, settle, vertex_versions, write_artifact

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db(transaction=True)
DAY = 24 * 3600


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock(now=cloud.clock.now())


def pass_time(cloud: LocalCloud, clock: Clock, seconds: float) -> None:
    resume_operations(clock=clock)
    clock.forward(seconds)
    cloud.clock.advance(seconds)


# ---- numbers -----------------------------------------------------------------------------------


def test_of_two_copies_nine_is_below_ten(cloud: LocalCloud, clock: Clock):
    """The lower one is the run's version, the higher one is surplus."""
    lineage = managed(cloud, versions=8)
    run = a_run(cloud, project=lineage.project, name=lineage.model_name)
    late(cloud, lineage, run)
    late(cloud, lineage, run)
    operation = register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    assert run.vertex_model_version == "9"
    operation.refresh_from_db()
    assert [name.rpartition("@")[2] for name in operation.data["surplus"]] == ["10"]


def test_the_default_goes_to_ten_not_to_nine(cloud: LocalCloud, clock: Clock):
    lineage = managed(cloud, versions=11)
    newest = lineage.training_runs.get(version=11)
    finish(delete_versions(lineage=lineage, runs=[newest], actor=ANA, now=clock()), clock)
    seen = vertex_versions(lineage)
    assert [number for number, aliases in seen.items() if "default" in aliases] == ["10"]
    assert lineage.training_runs.get(version=10).aliases == ["default"]


def test_a_lost_run_that_is_registered_again_keeps_its_number(cloud: LocalCloud, clock: Clock):
    lineage, (first, _) = a_lineage(cloud, clock, versions=2)
    with transaction.atomic():
        end_version(run=lock_version(first.pk), registration=Registration.LOST)
    cloud.models.reset()
    first.refresh_from_db()
    finish(register_run(run=first, actor=ANA, now=clock()), clock)
    first.refresh_from_db()
    lineage.refresh_from_db()
    assert (first.version, first.registration) == (1, Registration.REGISTERED)
    assert (lineage.next_version, lineage.total_versions) == (3, 2)


# ---- what is whose -----------------------------------------------------------------------------


def test_a_run_of_another_model_is_not_deleted_with_this_one(cloud: LocalCloud, clock: Clock):
    lineage, (own,) = a_lineage(cloud, clock)
    _, (other,) = a_lineage(cloud, clock, name="other")
    with pytest.raises(Conflict, match="is not a version of"):
        delete_versions(lineage=lineage, runs=[own, other], actor=ANA, now=clock())
    own.refresh_from_db()
    other.refresh_from_db()
    assert {own.registration, other.registration} == {Registration.REGISTERED}


@pytest.mark.parametrize("name", ["model.txt", "saved_model.pbtxt", "sub/saved_model.pb"])
def test_a_folder_without_a_model_file_of_its_own_is_not_registered(
    cloud: LocalCloud, clock: Clock, name: str
):
    run = TrainingRunFactory.create(completed=True)
    write_artifact(cloud, run, f"pushed_model/1/{name}")
    operation = finish(register_run(run=run, actor=ANA, now=clock()), clock)
    assert (operation.status, operation.error_code) == ("failed", "artifacts_missing")
    assert cloud.effects.mutations("ModelService.*") == []


def test_a_newer_folder_without_a_model_file_is_not_the_one_that_is_registered(
    cloud: LocalCloud, clock: Clock
):
    run = a_run(cloud)
    write_artifact(cloud, run, "pushed_model/2/model.txt")
    finish(register_run(run=run, actor=ANA, now=clock()), clock)
    run.refresh_from_db()
    assert run.registration == Registration.REGISTERED
    assert Manifest.objects.get(run=run).folder.endswith("/pushed_model/1/")


def test_a_file_beside_the_model_file_is_no_model(cloud: LocalCloud):
    """The name of the one begins with that of the other."""
    run = TrainingRunFactory.create(completed=True)
    write_artifact(cloud, run, "pushed_model/1/saved_model.pbtxt")
    uri = f"{run.gcs_artifacts_path}pushed_model/1"
    assert isinstance(verify_gcs_artifacts_exist(run=run, artifact_uri=uri), Absent)
    write_artifact(cloud, run, "pushed_model/1/saved_model.pb")
    assert verify_gcs_artifacts_exist(run=run, artifact_uri=uri) == Present(uri)


def test_a_version_that_was_deleted_is_not_registered_again(clock: Clock):
    run = TrainingRunFactory.create(completed=True, registration=Registration.DELETED)
    with pytest.raises(NotRegistrable, match="was deleted"):
        register_run(run=run, actor=ANA, now=clock())


def test_a_parent_that_is_not_there_once_is_not_lost(cloud: LocalCloud, clock: Clock):
    lineage, (first,) = a_lineage(cloud, clock)
    pass_time(cloud, clock, A_WHILE)  # a younger one is waited for anyway
    vertex.delete_model(ModelName.parse(lineage.vertex_model_resource_name))
    second = a_run(cloud, project=lineage.project, name=lineage.model_name)
    register_run(run=second, actor=ANA, now=clock())
    resume_operations(clock=clock)
    first.refresh_from_db()
    assert first.registration == Registration.REGISTERED


def test_a_run_of_the_model_that_is_no_version_is_not_deleted_as_one(
    cloud: LocalCloud, clock: Clock
):
    lineage, (own,) = a_lineage(cloud, clock)
    other = TrainingRunFactory.create(
        failed=True, project=lineage.project, registered_model=lineage, model_name=own.model_name
    )
    with pytest.raises(Conflict, match="is not a version of"):
        delete_versions(lineage=lineage, runs=[own, other], actor=ANA, now=clock())


def test_a_version_that_is_about_to_be_served_is_not_deleted(cloud: LocalCloud, clock: Clock):
    lineage, (old, new) = a_lineage(cloud, clock, versions=2)
    DeployedEndpointFactory.create(
        registered_model=lineage, run=old, intended_run=new, state="deploying", is_active=True
    )
    with pytest.raises(DeployedModel):
        delete_versions(lineage=lineage, runs=[new], actor=ANA, now=clock())


def test_a_schedule_does_not_take_its_runs_with_it():
    schedule = TrainingScheduleFactory.create()
    TrainingRunFactory.create(schedule=schedule, project=schedule.project)
    with pytest.raises(ProtectedError):
        schedule.delete()


def test_a_pipeline_with_another_runs_label_ends_no_run(cloud: LocalCloud):
    clock = CloudClock(cloud)
    job = pipelines.create_pipeline_job(
        job_id="theirs", display_name="theirs", spec=SPEC, parameters={},
        output_directory=f"gs://{BUCKET}/theirs", labels={"mlp_run": "f" * 32},
    )  # fmt: skip
    run = TrainingRunFactory.create(
        status=RunStatus.RUNNING, pipeline_job_name=str(job.name), submitted_at=clock()
    )
    clock.forward(DAY)
    result = poll(clock)
    run.refresh_from_db()
    assert (run.status, dict(result.ended)) == (RunStatus.RUNNING, {})
    assert "is not the pipeline of" in result.unknown[0]


def test_a_version_of_which_nothing_is_known_is_not_called_lost(cloud: LocalCloud, clock: Clock):
    """The model answers and does not list the version; the version itself is not to be read."""
    lineage = managed(cloud, versions=2)
    first = lineage.training_runs.get(version=1)
    name = ModelName.parse(first.vertex_model_resource_name)
    vertex.delete_model_version(name.at(first.vertex_model_version))
    operation = clear_stale_pointers(registered_model=lineage, actor=ANA, now=clock())
    cloud.faults.order("ModelService.GetModel", code="PERMISSION_DENIED", nth=2)
    finish(operation, clock)
    first.refresh_from_db()
    assert (operation.status, first.registration) == ("failed", Registration.REGISTERED)


# ---- effects -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_upload_that_may_yet_appear_is_not_sent_again_before_its_horizon(
    cloud: LocalCloud, clock: Clock
):
    """It never happened, which nobody can know before."""
    run = a_run(cloud)
    horizon = get_settings().UPLOAD_HORIZON
    cloud.faults.order("ModelService.UploadModel", code="DEADLINE_EXCEEDED")
    register_run(run=run, actor=ANA, now=clock())
    began = clock()
    while (clock() - began).total_seconds() < horizon - 30:
        pass_time(cloud, clock, 20)
        assert cloud.effects.count("ModelService.UploadModel") == 1
    while Operation.objects.live().exists():
        pass_time(cloud, clock, 60)
        assert (clock() - began).total_seconds() < 4 * horizon
    assert cloud.effects.count("ModelService.UploadModel") == 2
    run.refresh_from_db()
    assert run.registration == Registration.REGISTERED


@pytest.mark.slow
def test_an_undeploy_of_unknown_outcome_does_not_show_as_active(cloud: LocalCloud, clock: Clock):
    """Cloud Run takes the deletion, and never again answers what became of it."""
    endpoint, (run,) = deployed(cloud, clock)
    cloud.faults.order("Services.DeleteService", "lost")
    operation = undeploy(endpoint, clock)
    resume_operations(clock=clock)
    cloud.faults.order("Services.GetService", code="PERMISSION_DENIED", times=None)
    began = clock()
    while Operation.objects.live().exists():
        pass_time(cloud, clock, 600)
        assert clock() - began < timedelta(days=4)
    operation.refresh_from_db()
    assert operation.status == "failed"
    assert facts(endpoint)[:3] == ("undeploying", True, run.pk)
    assert DeployedEndpoint.objects.protecting().filter(pk=endpoint.pk).exists()
    cloud.faults.clear()
    assert services() == {}
