"""What each call needs and what each predefined role has: tables, no state.

Sources below cloud.google.com: vertex-ai/docs/general/iam-permissions, run/docs/reference/iam,
scheduler/docs/access-control, storage/docs/access-control/iam-json and iam-roles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

ACT_AS = "iam.serviceAccounts.actAs"
OVERWRITE = "storage.objects.delete"
"""What a write needs beside its own permission when it replaces an object."""


class Requirement(NamedTuple):
    """Any one of these permissions, on this resource."""

    permissions: tuple[str, ...]
    resource: str


_VERTEX = {
    "ModelService.CopyModel": "models.upload",
    "ModelService.DeleteModel": "models.delete",
    "ModelService.DeleteModelVersion": "models.delete",
    "ModelService.ExportModel": "models.export",
    "ModelService.GetModel": "models.get",
    "ModelService.GetModelEvaluation": "modelEvaluations.get",
    "ModelService.ImportModelEvaluation": "modelEvaluations.import",
    "ModelService.ListModelEvaluations": "modelEvaluations.list",
    "ModelService.ListModelVersions": "models.list",
    "ModelService.ListModels": "models.list",
    "ModelService.MergeVersionAliases": "models.update",
    "ModelService.UpdateModel": "models.update",
    "ModelService.UploadModel": "models.upload",
    "EndpointService.CreateEndpoint": "endpoints.create",
    "EndpointService.DeleteEndpoint": "endpoints.delete",
    "EndpointService.DeployModel": "endpoints.deploy",
    "EndpointService.GetEndpoint": "endpoints.get",
    "EndpointService.ListEndpoints": "endpoints.list",
    "EndpointService.MutateDeployedModel": "endpoints.update",
    "EndpointService.UndeployModel": "endpoints.undeploy",
    "EndpointService.UpdateEndpoint": "endpoints.update",
    "EndpointService.UpdateEndpointLongRunning": "endpoints.update",
    "PredictionService.Predict": "endpoints.predict",
    "PredictionService.RawPredict": "endpoints.predict",
    "PipelineService.BatchCancelPipelineJobs": "pipelineJobs.cancel",
    "PipelineService.BatchDeletePipelineJobs": "pipelineJobs.delete",
    "PipelineService.CancelPipelineJob": "pipelineJobs.cancel",
    "PipelineService.CreatePipelineJob": "pipelineJobs.create",
    "PipelineService.DeletePipelineJob": "pipelineJobs.delete",
    "PipelineService.GetPipelineJob": "pipelineJobs.get",
    "PipelineService.ListPipelineJobs": "pipelineJobs.list",
    "ScheduleService.CreateSchedule": "schedules.create",
    "ScheduleService.DeleteSchedule": "schedules.delete",
    "ScheduleService.GetSchedule": "schedules.get",
    "ScheduleService.ListSchedules": "schedules.list",
    "ScheduleService.PauseSchedule": "schedules.update",
    "ScheduleService.ResumeSchedule": "schedules.update",
    "ScheduleService.UpdateSchedule": "schedules.update",
}
METHODS: dict[str, str] = {
    **{method: f"aiplatform.{permission}" for method, permission in _VERTEX.items()},
    "Services.CreateService": "run.services.create",
    "Services.DeleteService": "run.services.delete",
    "Services.GetIamPolicy": "run.services.getIamPolicy",
    "Services.GetService": "run.services.get",
    "Services.ListServices": "run.services.list",
    "Services.SetIamPolicy": "run.services.setIamPolicy",
    "Services.UpdateService": "run.services.update",
    "Revisions.DeleteRevision": "run.revisions.delete",
    "Revisions.GetRevision": "run.revisions.get",
    "Revisions.ListRevisions": "run.revisions.list",
    "CloudScheduler.CreateJob": "cloudscheduler.jobs.create",
    "CloudScheduler.DeleteJob": "cloudscheduler.jobs.delete",
    "CloudScheduler.GetJob": "cloudscheduler.jobs.get",
    "CloudScheduler.ListJobs": "cloudscheduler.jobs.list",
    "CloudScheduler.PauseJob": "cloudscheduler.jobs.pause",
    "CloudScheduler.ResumeJob": "cloudscheduler.jobs.enable",
    "CloudScheduler.RunJob": "cloudscheduler.jobs.run",
    "CloudScheduler.UpdateJob": "cloudscheduler.jobs.update",
    "MetricService.ListTimeSeries": "monitoring.timeSeries.list",
    "Projects.GetProject": "resourcemanager.projects.get",
}
"""A method and the permission it needs on the resource that it names."""

FREE = frozenset({"Services.TestIamPermissions", "storage.buckets.testIamPermissions"})
"""Methods that need no permission."""

# Which service a location is for, the call does not say.
_LOCATIONS = {"Locations.GetLocation": "get", "Locations.ListLocations": "list"}
# On an operation: what Vertex needs on the resource below which it is, and what Cloud Run needs.
_OPERATIONS = {
    "Operations.CancelOperation": ("delete", "delete"),
    "Operations.DeleteOperation": ("get", "delete"),
    "Operations.GetOperation": ("get", "get"),
    "Operations.ListOperations": ("list", "list"),
    "Operations.WaitOperation": ("get", "get"),
}
# What is needed: on the `project`, the `bucket`, the `object`, or where it is copied `to`.
STORAGE: dict[str, tuple[tuple[str, str], ...]] = {
    "storage.buckets.delete": (("buckets.delete", "bucket"),),
    "storage.buckets.get": (("buckets.get", "bucket"),),
    "storage.buckets.getIamPolicy": (("buckets.getIamPolicy", "bucket"),),
    "storage.buckets.getStorageLayout": (("buckets.get", "bucket"),),
    "storage.buckets.insert": (("buckets.create", "project"),),
    "storage.buckets.list": (("buckets.list", "project"),),
    "storage.buckets.lockRetentionPolicy": (("buckets.update", "bucket"),),
    "storage.buckets.patch": (("buckets.update", "bucket"),),
    "storage.buckets.restore": (("buckets.restore", "bucket"),),
    "storage.buckets.setIamPolicy": (("buckets.setIamPolicy", "bucket"),),
    "storage.buckets.update": (("buckets.update", "bucket"),),
    "storage.hmacKey.create": (("hmacKeys.create", "project"),),
    "storage.hmacKey.delete": (("hmacKeys.delete", "project"),),
    "storage.hmacKey.get": (("hmacKeys.get", "project"),),
    "storage.hmacKey.list": (("hmacKeys.list", "project"),),
    "storage.hmacKey.update": (("hmacKeys.update", "project"),),
    "storage.notifications.delete": (("buckets.update", "bucket"),),
    "storage.notifications.get": (("buckets.get", "bucket"),),
    "storage.notifications.insert": (("buckets.update", "bucket"),),
    "storage.notifications.list": (("buckets.get", "bucket"),),
    "storage.objects.bulkRestore": (("objects.restore", "bucket"), ("objects.create", "bucket")),
    "storage.objects.compose": (("objects.get", "object"), ("objects.create", "object")),
    "storage.objects.copy": (("objects.get", "object"), ("objects.create", "to")),
    "storage.objects.delete": (("objects.delete", "object"),),
    "storage.objects.get": (("objects.get", "object"),),
    "storage.objects.insert": (("objects.create", "object"),),
    "storage.objects.list": (("objects.list", "bucket"),),
    "storage.objects.move": (
        ("objects.get", "object"),
        ("objects.create", "to"),
        ("objects.delete", "object"),
    ),
    "storage.objects.patch": (("objects.update", "object"),),
    "storage.objects.restore": (("objects.restore", "object"), ("objects.create", "object")),
    "storage.objects.rewrite": (("objects.get", "object"), ("objects.create", "to")),
    "storage.objects.update": (("objects.update", "object"),),
    "storage.serviceaccount.get": (("buckets.list", "project"),),
}

# Where a request names the account that its resource will run as.
ACCOUNTS: dict[str, tuple[str, ...]] = {
    "Services.CreateService": ("service.template.service_account",),
    "Services.UpdateService": ("service.template.service_account",),
    "PipelineService.CreatePipelineJob": ("pipeline_job.service_account",),
    "EndpointService.DeployModel": ("deployed_model.service_account",),
    "ScheduleService.CreateSchedule": (
        "schedule.create_pipeline_job_request.pipeline_job.service_account",
    ),
    "CloudScheduler.CreateJob": (
        "job.http_target.oidc_token.service_account_email",
        "job.http_target.oauth_token.service_account_email",
    ),
    "CloudScheduler.UpdateJob": (
        "job.http_target.oidc_token.service_account_email",
        "job.http_target.oauth_token.service_account_email",
    ),
}


def knows(method: str) -> bool:
    """Whether the tables say what a method needs."""
    return any(method in table for table in (METHODS, STORAGE, _OPERATIONS, _LOCATIONS, FREE))


def needs_of(method: str, resource: str, parts: Mapping[str, str]) -> Iterator[Requirement]:
    """All that a call needs; `parts` are what a storage call names (bucket, name, project ...).

    A method that the tables do not know needs what no role has.
    """
    if method in FREE:
        return
    if method in STORAGE:
        for permission, on in STORAGE[method]:
            yield Requirement((f"storage.{permission}",), _storage_name(on, parts))
    elif method in _OPERATIONS:
        yield Requirement((_of_operation(method, resource),), resource)
    elif method in _LOCATIONS:
        services = ("aiplatform", "cloudscheduler", "run")
        verb = _LOCATIONS[method]
        yield Requirement(tuple(f"{service}.locations.{verb}" for service in services), resource)
    else:
        yield Requirement((METHODS.get(method, method),), resource)


def _of_operation(method: str, resource: str) -> str:
    """Vertex's operations are below their resource, Cloud Run's below the location."""
    vertex, run = _OPERATIONS[method]
    below = resource.split("/")[4:]
    if not below or below[0] == "operations":
        return f"run.operations.{run}"
    return "aiplatform.operations.list" if vertex == "list" else f"aiplatform.{below[0]}.{vertex}"


def _storage_name(on: str, parts: Mapping[str, str]) -> str:
    if on == "project":
        return f"projects/{parts.get('project', '')}"
    if on == "to":
        bucket = parts.get("to_bucket") or parts["bucket"]
        return object_name(bucket, parts.get("to_name", ""))
    if on == "bucket":
        return f"projects/_/buckets/{parts['bucket']}"
    return object_name(parts["bucket"], parts.get("name", ""))


def object_name(bucket: str, name: str) -> str:
    """The resource name of an object, as IAM writes it."""
    return f"projects/_/buckets/{bucket}/objects/{name}"


def _every() -> Iterator[str]:
    yield from METHODS.values()
    for needs in STORAGE.values():
        yield from (f"storage.{permission}" for permission, _ in needs)
    for service in ("aiplatform", "cloudscheduler", "run"):
        yield from (f"{service}.locations.{verb}" for verb in ("get", "list"))
    yield from (f"run.operations.{verb}" for verb in ("get", "list", "delete"))
    yield from (ACT_AS, "aiplatform.operations.list", "run.routes.invoke")


EVERY = frozenset(_every())


def _those(*starts: str, but: tuple[str, ...] = ()) -> frozenset[str]:
    return frozenset(p for p in EVERY if p.startswith(starts) and not p.endswith(but))


def _reads(*starts: str) -> frozenset[str]:
    return frozenset(p for p in _those(*starts) if p.endswith((".get", ".list", ".getIamPolicy")))


_PROJECT = frozenset({"resourcemanager.projects.get"})
ROLES: dict[str, frozenset[str]] = {
    # A project's viewers read its objects, through the bindings that a bucket has by default.
    "roles/viewer": _reads(""),
    "roles/editor": _those("", but=(".setIamPolicy",)),
    "roles/owner": EVERY,
    "roles/aiplatform.viewer": _reads("aiplatform.") | _PROJECT,
    "roles/aiplatform.user": _those("aiplatform.") | _PROJECT,
    "roles/aiplatform.admin": _those("aiplatform.") | _PROJECT,
    "roles/cloudscheduler.viewer": _reads("cloudscheduler.") | _PROJECT,
    "roles/cloudscheduler.admin": _those("cloudscheduler.") | _PROJECT,
    "roles/iam.serviceAccountUser": frozenset({ACT_AS}) | _PROJECT,
    "roles/monitoring.viewer": _reads("monitoring.") | _PROJECT,
    "roles/run.viewer": _reads("run.") | _PROJECT,
    "roles/run.developer": _those("run.", but=(".setIamPolicy",)) | _PROJECT,
    "roles/run.admin": _those("run.") | _PROJECT,
    "roles/run.invoker": frozenset({"run.routes.invoke"}),
    "roles/storage.objectViewer": _reads("storage.objects.") | _PROJECT,
    "roles/storage.objectCreator": frozenset({"storage.objects.create"}) | _PROJECT,
    "roles/storage.objectUser": _those("storage.objects.") | _PROJECT,
    "roles/storage.legacyBucketReader": frozenset({"storage.buckets.get", "storage.objects.list"}),
    "roles/storage.objectAdmin": _those("storage.objects.") | _PROJECT,
    "roles/storage.admin": _those("storage.buckets.", "storage.objects.") | _PROJECT,
    "roles/storage.hmacKeyAdmin": _those("storage.hmacKeys.") | _PROJECT,
}
"""Predefined roles, as far as the permissions above go."""
