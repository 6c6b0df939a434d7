"""Every call that can leave the window, against every way in which Google may not answer.

A read that failed proves nothing; an effect that failed in an unclear way may have happened.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud.run_v2.types.service import Service

from ml_platform.cloud import cloud_run, monitoring, pipelines, scheduler, storage, vertex
from ml_platform.cloud.answers import Unknown, ask
from ml_platform.cloud.names import ModelName, OperationName, PipelineJobName
from ml_platform.cloud.run_messages import read_service
from ml_platform.cloud.transport import channels
from ml_platform.cloud.transport.methods import METHODS
from ml_platform.cloud.types import JobSpec, ServiceSpec
from ml_platform.errors import (
    CloudDenied,
    CloudRejected,
    CloudThrottled,
    CloudUnavailable,
    OutcomeUnknown,
)

WHERE = ("demo-project", "europe-central2")
MODEL = ModelName(*WHERE, "7")
JOB = PipelineJobName(*WHERE, "run-1")
OPERATION = OperationName(*WHERE, "1", "models/7")
SPEC = ServiceSpec(image="i", labels={})
SERVICE = read_service(
    Service.pb(Service(name="projects/demo-project/locations/europe-central2/services/s", etag="e"))
)
TICK = JobSpec(
    job_id="j", schedule="0 4 * * *", uri="https://x.y/", service_account="s", audience="a"
)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Remote:
    """A function of the window and the method that it calls first."""

    method: str
    send: Callable[[], Any]


def read_series():
    return monitoring.read_series(
        metric="request_count",
        service="s",
        start=NOW,
        end=NOW + timedelta(days=1),
        period_seconds=86400,
        aligner=monitoring.Aligner.DELTA,
    )


REMOTES = {
    "vertex.list_models": Remote("ModelService.ListModels", lambda: list(vertex.list_models())),
    "vertex.list_model_versions": Remote(
        "ModelService.ListModelVersions", lambda: list(vertex.list_model_versions(MODEL))
    ),
    "vertex.list_endpoints": Remote(
        "EndpointService.ListEndpoints", lambda: list(vertex.list_endpoints())
    ),
    "vertex.list_evaluations": Remote(
        "ModelService.ListModelEvaluations", lambda: list(vertex.list_evaluations(MODEL.at("1")))
    ),
    "vertex.get_model": Remote("ModelService.GetModel", lambda: vertex.get_model(MODEL)),
    "vertex.upload_model": Remote(
        "ModelService.UploadModel",
        lambda: vertex.upload_model(
            display_name="d", artifact_uri="gs://b/a", serving_image="i", labels={}
        ),
    ),
    "vertex.delete_model": Remote("ModelService.DeleteModel", lambda: vertex.delete_model(MODEL)),
    "vertex.delete_model_version": Remote(
        "ModelService.DeleteModelVersion", lambda: vertex.delete_model_version(MODEL.at("1"))
    ),
    "vertex.merge_version_aliases": Remote(
        "ModelService.MergeVersionAliases",
        lambda: vertex.merge_version_aliases(MODEL.at("1"), ["champion"]),
    ),
    "vertex.update_model_labels": Remote(
        "ModelService.UpdateModel", lambda: vertex.update_model_labels(MODEL.at("1"), {})
    ),
    "vertex.get_operation": Remote(
        "Operations.GetOperation", lambda: vertex.get_operation(OPERATION)
    ),
    "pipelines.create_pipeline_job": Remote(
        "PipelineService.CreatePipelineJob",
        lambda: pipelines.create_pipeline_job(
            job_id="run-1",
            display_name="d",
            spec={},
            parameters={},
            output_directory="gs://b/a",
            labels={},
        ),
    ),
    "pipelines.get_pipeline_job": Remote(
        "PipelineService.GetPipelineJob", lambda: pipelines.get_pipeline_job(JOB)
    ),
    "pipelines.list_pipeline_jobs": Remote(
        "PipelineService.ListPipelineJobs", lambda: list(pipelines.list_pipeline_jobs())
    ),
    "pipelines.cancel_pipeline_job": Remote(
        "PipelineService.CancelPipelineJob", lambda: pipelines.cancel_pipeline_job(JOB)
    ),
    "storage.list_objects": Remote(
        "storage.objects.list", lambda: list(storage.list_objects("bucket", "runs/"))
    ),
    "storage.list_children": Remote(
        "storage.objects.list", lambda: list(storage.list_children("bucket", "runs/"))
    ),
    "storage.has_objects": Remote(
        "storage.objects.list", lambda: storage.has_objects("bucket", "runs/")
    ),
    "storage.read_text": Remote(
        "storage.objects.get", lambda: storage.read_text("bucket", "a", limit_bytes=9)
    ),
    "storage.read_generation": Remote(
        "storage.objects.get", lambda: storage.read_generation("bucket", "a", limit_bytes=9)
    ),
    "storage.write_text": Remote(
        "storage.objects.insert", lambda: storage.write_text("bucket", "a", "a")
    ),
    "storage.copy_generation": Remote(
        "storage.objects.copy", lambda: storage.copy_generation("bucket", "a", 1, over=0)
    ),
    "storage.restore_soft_deleted": Remote(
        "storage.objects.restore", lambda: storage.restore_soft_deleted("bucket", "a", 1, over=0)
    ),
    "storage.get_bucket": Remote("storage.buckets.get", lambda: storage.get_bucket("bucket")),
    "cloud_run.get_revision": Remote(
        "Revisions.GetRevision", lambda: cloud_run.get_revision("s", "s-00001")
    ),
    "cloud_run.get_service": Remote("Services.GetService", lambda: cloud_run.get_service("s")),
    "cloud_run.list_services": Remote(
        "Services.ListServices", lambda: list(cloud_run.list_services())
    ),
    "cloud_run.create_service": Remote(
        "Services.CreateService", lambda: cloud_run.create_service("s", SPEC)
    ),
    "cloud_run.update_service": Remote(
        "Services.UpdateService", lambda: cloud_run.update_service(SERVICE, SPEC, before=SPEC)
    ),
    "cloud_run.relabel_service": Remote(
        "Services.UpdateService", lambda: cloud_run.relabel_service(SERVICE, {})
    ),
    "cloud_run.route_service": Remote(
        "Services.UpdateService", lambda: cloud_run.route_service(SERVICE, [])
    ),
    "cloud_run.delete_service": Remote(
        "Services.DeleteService", lambda: cloud_run.delete_service("s", etag="e")
    ),
    "cloud_run.get_operation": Remote(
        "Operations.GetOperation", lambda: cloud_run.get_operation(OperationName(*WHERE, "1"))
    ),
    "cloud_run.get_invokers": Remote("Services.GetIamPolicy", lambda: cloud_run.get_invokers("s")),
    "cloud_run.change_invokers": Remote(
        "Services.GetIamPolicy", lambda: cloud_run.change_invokers("s", add=["allUsers"])
    ),
    "scheduler.list_jobs": Remote("CloudScheduler.ListJobs", lambda: list(scheduler.list_jobs())),
    "scheduler.get_job": Remote("CloudScheduler.GetJob", lambda: scheduler.get_job("j")),
    "scheduler.create_job": Remote("CloudScheduler.CreateJob", lambda: scheduler.create_job(TICK)),
    "scheduler.update_job": Remote("CloudScheduler.UpdateJob", lambda: scheduler.update_job(TICK)),
    "scheduler.delete_job": Remote("CloudScheduler.DeleteJob", lambda: scheduler.delete_job("j")),
    "scheduler.pause_job": Remote("CloudScheduler.PauseJob", lambda: scheduler.pause_job("j")),
    "scheduler.resume_job": Remote("CloudScheduler.ResumeJob", lambda: scheduler.resume_job("j")),
    "monitoring.read_series": Remote("MetricService.ListTimeSeries", read_series),
}

# code: category for a read, category for an effect
CATEGORIES = {
    "UNAVAILABLE": (CloudUnavailable, OutcomeUnknown),
    "DEADLINE_EXCEEDED": (CloudUnavailable, OutcomeUnknown),
    "INTERNAL": (CloudUnavailable, OutcomeUnknown),
    "PERMISSION_DENIED": (CloudDenied, CloudDenied),
    "RESOURCE_EXHAUSTED": (CloudThrottled, CloudThrottled),
    "INVALID_ARGUMENT": (CloudRejected, CloudRejected),
}


def test_no_function_of_the_window_and_no_method_is_left_out():
    public = {
        f"{room.__name__.rpartition('.')[2]}.{name}"
        for room in (vertex, pipelines, storage, cloud_run, scheduler, monitoring)
        for name, value in vars(room).items()
        if inspect.isfunction(value) and value.__module__ == room.__name__ and name[0] != "_"
    }
    own_outcomes, sends_nothing = "storage.delete_objects", "storage.is_sendable"
    assert public - set(REMOTES) == {own_outcomes, sends_nothing}
    called = {remote.method for remote in REMOTES.values()}
    assert set(METHODS) - called == {"storage.batch", "Services.SetIamPolicy"}


@pytest.mark.parametrize("code", CATEGORIES)
@pytest.mark.parametrize("name", REMOTES)
def test_a_refusal_has_the_category_of_its_code(cloud, limits, name, code):
    limits(RETRY_TIMEOUT=0.0)
    remote = REMOTES[name]
    fault = cloud.faults.order(remote.method, code=code, times=None)
    read, effect = CATEGORIES[code]
    with pytest.raises(read) as error:
        remote.send()
    assert type(error.value) is (read if METHODS[remote.method].is_read else effect)
    # A text that refuses a download could be a proxy's, so the object's metadata is asked for too.
    asked = 2 if (name, code) == ("storage.read_text", "INVALID_ARGUMENT") else 1
    assert (fault.hits, cloud.effects.count("*")) == (asked, asked)
    assert code in str(error.value)


@pytest.mark.parametrize("name", REMOTES)
def test_a_call_that_hangs_ends_in_time(cloud, limits, name):
    remote = REMOTES[name]
    channels.client("ModelService")  # what is made at first use is no part of a call's time
    limits(CALL_TIMEOUT=0.5, RETRY_TIMEOUT=5.0)
    cloud.faults.order(remote.method, kind="hang", times=None)
    is_read = METHODS[remote.method].is_read
    with pytest.raises(CloudUnavailable) as error:
        remote.send()
    assert type(error.value) is (CloudUnavailable if is_read else OutcomeUnknown)
    assert cloud.effects.count("*") == 1


@pytest.mark.parametrize("code", CATEGORIES)
@pytest.mark.parametrize("name", [n for n, r in REMOTES.items() if METHODS[r.method].is_read])
def test_a_read_that_failed_is_unknown_and_never_absent(cloud, limits, name, code):
    limits(RETRY_TIMEOUT=0.0)
    cloud.faults.order(REMOTES[name].method, code=code, times=None)
    assert isinstance(ask(REMOTES[name].send), Unknown)
