"""The table of Google's methods: which may be repeated, and what NOT_FOUND is about.

Only methods in this table can be called, so it is also the list of permissions we need.
"""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """GET and CHANGE name a resource, LIST and CREATE a parent; CREATE and CHANGE have effects."""

    GET = "get"
    LIST = "list"
    CREATE = "create"
    CHANGE = "change"

    @property
    def is_read(self) -> bool:
        """Whether repeating it has no further effect."""
        return self in (Kind.GET, Kind.LIST)

    @property
    def names_its_subject(self) -> bool:
        """Whether NOT_FOUND is about the resource itself.

        If it is about the parent, it does not prove that the resource is absent (law 3).
        """
        return self in (Kind.GET, Kind.CHANGE)


METHODS: dict[str, Kind] = {
    "ModelService.GetModel": Kind.GET,
    "ModelService.ListModels": Kind.LIST,
    "ModelService.ListModelVersions": Kind.GET,  # it names the model whose versions it lists
    "ModelService.ListModelEvaluations": Kind.LIST,
    "ModelService.UploadModel": Kind.CREATE,
    "ModelService.UpdateModel": Kind.CHANGE,
    "ModelService.MergeVersionAliases": Kind.CHANGE,
    "ModelService.DeleteModel": Kind.CHANGE,
    "ModelService.DeleteModelVersion": Kind.CHANGE,
    "EndpointService.ListEndpoints": Kind.LIST,
    "PipelineService.GetPipelineJob": Kind.GET,
    "PipelineService.ListPipelineJobs": Kind.LIST,
    "PipelineService.CreatePipelineJob": Kind.CREATE,
    "PipelineService.CancelPipelineJob": Kind.CHANGE,
    "Operations.GetOperation": Kind.GET,
    "Services.GetService": Kind.GET,
    "Services.ListServices": Kind.LIST,
    "Services.CreateService": Kind.CREATE,
    "Services.UpdateService": Kind.CHANGE,
    "Services.DeleteService": Kind.CHANGE,
    "Services.GetIamPolicy": Kind.GET,
    "Services.SetIamPolicy": Kind.CHANGE,
    "Revisions.GetRevision": Kind.GET,
    "CloudScheduler.GetJob": Kind.GET,
    "CloudScheduler.ListJobs": Kind.LIST,
    "CloudScheduler.CreateJob": Kind.CREATE,
    "CloudScheduler.UpdateJob": Kind.CHANGE,
    "CloudScheduler.DeleteJob": Kind.CHANGE,
    "CloudScheduler.PauseJob": Kind.CHANGE,
    "CloudScheduler.ResumeJob": Kind.CHANGE,
    "MetricService.ListTimeSeries": Kind.LIST,
    "storage.buckets.get": Kind.GET,
    "storage.objects.get": Kind.GET,
    "storage.objects.list": Kind.LIST,
    "storage.objects.insert": Kind.CREATE,
    "storage.objects.copy": Kind.CHANGE,
    "storage.objects.restore": Kind.CHANGE,
    "storage.batch": Kind.CREATE,  # NOT_FOUND of a part is about its object
}

_PLANES = {
    "ModelService": "Vertex AI Model Registry",
    "EndpointService": "Vertex AI endpoints",
    "PipelineService": "Vertex AI Pipelines",
    "Operations": "Google's long-running operations",
    "Services": "Cloud Run",
    "Revisions": "Cloud Run",
    "CloudScheduler": "Cloud Scheduler",
    "MetricService": "Cloud Monitoring",
    "storage": "Cloud Storage",
}


def plane(method: str) -> str:
    """Return the product name of the service that `method` belongs to."""
    return _PLANES[method.partition(".")[0]]
