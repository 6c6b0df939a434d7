"""REST through GAPIC's own transport, and the high-level SDK on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform, resourcemanager_v3, run_v2, scheduler_v1
from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
from google.protobuf import field_mask_pb2

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import NUMBERED, PARENT

IMAGE = "europe-docker.pkg.dev/demo-project/images/web"
SERVICE = {"template": {"containers": [{"image": IMAGE}]}}


@pytest.fixture
def rest(cloud: LocalCloud) -> Callable[[Any], Any]:
    """`rest(ModelServiceClient)`: a GAPIC client that speaks REST to the cloud."""
    return lambda cls: cls(
        transport="rest",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": cloud.http_url},
    )


def test_a_models_life_by_rest(cloud: LocalCloud, rest: Callable[[Any], Any]) -> None:
    models = rest(ModelServiceClient)
    asked = {"parent": PARENT, "model_id": "ranker", "model": {"display_name": "ranker"}}
    first = models.upload_model(request=asked).result()
    assert (first.model, first.model_version_id) == (f"{NUMBERED}/models/ranker", "1")
    models.upload_model(
        request={"parent": PARENT, "parent_model": first.model, "model": {"display_name": "r"}}
    ).result()
    merged = models.merge_version_aliases(name=f"{first.model}@1", version_aliases=["golden"])
    assert "golden" in merged.version_aliases
    mask = field_mask_pb2.FieldMask(paths=["labels"])
    changed = models.update_model(
        model={"name": first.model, "labels": {"team": "red"}}, update_mask=mask
    )
    assert dict(changed.labels) == {"team": "red"}
    pages = models.list_model_versions(request={"name": first.model, "page_size": 1})
    assert [version.version_id for version in pages] == ["1", "2"]
    models.delete_model_version(name=f"{first.model}@1").result()
    models.delete_model(name=first.model).result()
    with pytest.raises(exceptions.NotFound, match="The Model does not exist"):
        models.get_model(name=first.model)
    assert cloud.effects.count("ModelService.UploadModel") == 2


def test_an_operation_is_polled_by_rest_until_it_lands(
    cloud: LocalCloud, rest: Callable[[Any], Any]
) -> None:
    cloud.faults.order("*.*", "late", seconds=60, times=2)
    asked = {"parent": PARENT, "model_id": "ranker", "model": {"display_name": "ranker"}}
    upload = rest(ModelServiceClient).upload_model(request=asked)
    create = rest(run_v2.ServicesClient).create_service(
        parent=PARENT, service_id="web", service=SERVICE
    )
    assert not upload.done()
    assert not create.done()
    cloud.clock.advance(60)
    assert upload.result().model_version_id == "1"
    assert create.result().name == f"{PARENT}/services/web"
    assert cloud.effects.count("Operations.GetOperation") >= 4


def test_an_operation_is_cancelled_and_deleted_by_rest(
    cloud: LocalCloud, rest: Callable[[Any], Any]
) -> None:
    cloud.faults.order("ModelService.UploadModel", "late", seconds=60)
    models = rest(ModelServiceClient)
    asked = {"parent": PARENT, "model_id": "ranker", "model": {"display_name": "ranker"}}
    upload = models.upload_model(request=asked)
    # google-api-core fails in `upload.cancel()` by REST, before it sends anything.
    models.cancel_operation({"name": upload.operation.name})
    with pytest.raises(exceptions.Cancelled):
        upload.result()
    models.delete_operation({"name": upload.operation.name})
    with pytest.raises(exceptions.NotFound):
        models.get_operation({"name": upload.operation.name})


def test_endpoints_and_pipelines_by_rest(cloud: LocalCloud, rest: Callable[[Any], Any]) -> None:
    endpoints, pipelines = rest(EndpointServiceClient), rest(PipelineServiceClient)
    made = endpoints.create_endpoint(parent=PARENT, endpoint={"display_name": "e"}).result()
    assert endpoints.get_endpoint(name=made.name).display_name == "e"
    job = pipelines.create_pipeline_job(
        parent=PARENT,
        pipeline_job_id="nightly",
        pipeline_job={
            "display_name": "nightly",
            "pipeline_spec": {"pipelineInfo": {"name": "nightly"}},
            "runtime_config": {"gcs_output_directory": "gs://artifacts/runs/1"},
        },
    )
    assert job.name == f"{NUMBERED}/pipelineJobs/nightly"
    pipelines.cancel_pipeline_job(name=job.name)
    assert [found.name for found in pipelines.list_pipeline_jobs(parent=PARENT)] == [job.name]


def test_cloud_run_by_rest_with_its_policy(cloud: LocalCloud, rest: Callable[[Any], Any]) -> None:
    services, name = rest(run_v2.ServicesClient), f"{PARENT}/services/web"
    services.create_service(parent=PARENT, service_id="web", service=SERVICE).result()
    policy = services.get_iam_policy({"resource": name})
    policy.bindings.add(role="roles/run.invoker", members=["allUsers"])
    services.set_iam_policy({"resource": name, "policy": policy})
    assert services.get_iam_policy({"resource": name}).bindings[0].members == ["allUsers"]
    tested = services.test_iam_permissions({"resource": name, "permissions": ["run.routes.invoke"]})
    assert list(tested.permissions) == ["run.routes.invoke"]
    changed = run_v2.Service(name=name, labels={"team": "red"}, **SERVICE)
    assert dict(services.update_service(service=changed).result().labels) == {"team": "red"}
    assert len(list(rest(run_v2.RevisionsClient).list_revisions(parent=name))) >= 1
    services.delete_service(name=name).result()
    assert list(services.list_services(parent=PARENT)) == []


def test_scheduler_and_projects_by_rest(cloud: LocalCloud, rest: Callable[[Any], Any]) -> None:
    jobs, name = rest(scheduler_v1.CloudSchedulerClient), f"{PARENT}/jobs/nightly"
    job = {
        "name": name,
        "schedule": "0 4 * * *",
        "time_zone": "UTC",
        "http_target": {"uri": "https://web.example/", "body": b"\x00\xff"},
    }
    jobs.create_job(parent=PARENT, job=job)
    assert jobs.get_job(name=name).http_target.body == b"\x00\xff"
    assert jobs.pause_job(name=name).state == scheduler_v1.Job.State.PAUSED
    changed = {"name": name, "schedule": "0 5 * * *"}
    mask = field_mask_pb2.FieldMask(paths=["schedule"])
    assert jobs.update_job(job=changed, update_mask=mask).schedule == "0 5 * * *"
    jobs.delete_job(name=name)
    project = rest(resourcemanager_v3.ProjectsClient).get_project(name="projects/demo-project")
    assert project.project_id == "demo-project"


def test_the_high_level_sdk_by_rest(cloud: LocalCloud) -> None:
    aiplatform.init(
        project="demo-project",
        location="europe-central2",
        credentials=AnonymousCredentials(),
        api_endpoint=cloud.http_url,
        api_transport="rest",
    )
    try:
        model = aiplatform.Model.upload(
            display_name="ranker", serving_container_image_uri=IMAGE, sync=True
        )
        aiplatform.models.ModelRegistry(model).add_version_aliases(["golden"], "1")
        assert aiplatform.Model(f"{model.resource_name}@golden").version_id == "1"
    finally:
        aiplatform.init(
            api_transport="grpc", api_endpoint="europe-central2-aiplatform.googleapis.com"
        )


def test_faults_quotas_reasons_and_the_log_of_calls_hold_for_rest(
    cloud: LocalCloud, rest: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = rest(ModelServiceClient)
    cloud.faults.order("ModelService.GetModel", "error", "UNAVAILABLE", "come back")
    with pytest.raises(exceptions.ServiceUnavailable, match="come back"):
        models.get_model(name=f"{PARENT}/models/ranker")
    monkeypatch.setattr(cloud.core.quota, "on", True)
    for _ in range(599):
        cloud.core.quota.take("ModelService.GetModel")
    metadata = [("x-goog-request-reason", "why")]
    with pytest.raises(exceptions.NotFound):
        models.get_model(name=f"{PARENT}/models/ranker", metadata=metadata)
    with pytest.raises(exceptions.TooManyRequests, match="Quota exceeded"):
        models.get_model(name=f"{PARENT}/models/ranker")
    told = [(call.outcome, call.resource, call.reason) for call in cloud.effects.calls()]
    name = f"{PARENT}/models/ranker"
    assert told == [
        ("UNAVAILABLE", name, ""),
        ("NOT_FOUND", name, "why"),
        ("RESOURCE_EXHAUSTED", name, ""),
    ]
