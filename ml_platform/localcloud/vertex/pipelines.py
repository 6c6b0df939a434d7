"""Vertex AI PipelineService: jobs walk through their stages on the Clock and leave real files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import grpc
from google.cloud.aiplatform_v1.types import pipeline_job as gca_job
from google.cloud.aiplatform_v1.types import pipeline_service as wire_types
from google.cloud.aiplatform_v1.types.operation import DeleteOperationMetadata
from google.cloud.aiplatform_v1.types.pipeline_state import PipelineState
from google.protobuf import empty_pb2, json_format

from ..core.core import Core
from ..core.errors import CloudError, invalid, precondition
from ..core.filters import compile_filter, compile_order, sort
from ..core.pages import page
from . import pipeline_plan as plans
from .model_rules import check_labels, masked
from .pipeline_runner import JOB, RUNNING, Files, Job, Runner

_PARENT = "projects/{project}/locations/{location}"
_FIELDS = (
    "pipeline_name",
    "display_name",
    "state",
    "create_time",
    "update_time",
    "end_time",
    "labels",
    "template_uri",
)
_ORDERS = ("create_time", "update_time", "end_time", "start_time")
_BATCH = 32
_Task = gca_job.PipelineTaskDetail.State
_LAST = 1 << 62


class PipelineService:
    """PENDING -> RUNNING -> SUCCEEDED or FAILED, one step each `stage_seconds`.

    A job ends as its label or parameter `localcloud_outcome` names, else as the newest matching
    order (`outcome`) names, else it succeeds.
    """

    def __init__(self, core: Core, storage: Files) -> None:
        self._core, self._store = core, core.store
        self._runner = Runner(core, storage)
        core.operations.on("pipeline.delete", self._land_delete)
        core.operations.on("pipeline.batch_delete", self._land_batch_delete)
        core.operations.on("pipeline.batch_cancel", self._land_batch_cancel)

    @property
    def stage_seconds(self) -> float:
        """How long each stage takes on the Clock; PENDING takes as long."""
        return self._runner.stage_seconds

    @stage_seconds.setter
    def stage_seconds(self, seconds: float) -> None:
        self._runner.stage_seconds = seconds

    def outcome(
        self,
        ending: str,
        *,
        display_name: str = "*",
        labels: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Set how future jobs end: `success`, `not_blessed`, `hang`, `fail:<stage>`.

        `display_name` is a glob; `metrics` go into their metrics.json. ValueError for any other
        ending. The newest order that matches a job is used.
        """
        order = plans.Order(
            plans.Ending.parse(ending), display_name, dict(labels or {}), dict(metrics or {})
        )
        self._runner.orders.insert(0, order)

    def reset(self) -> None:
        """No orders, two seconds a stage."""
        self._runner.orders.clear()
        self.stage_seconds = 2.0

    def rearm(self) -> None:
        """After a restart: continue the running jobs."""
        self._runner.rearm()

    # ---- calls

    def create_pipeline_job(self, request: Any) -> Any:
        """The job starts by itself; its answer is PENDING."""
        pb_request = wire_types.CreatePipelineJobRequest.pb(request)
        self._core.names.locate(pb_request.parent, _PARENT, field="parent")
        job_id = pb_request.pipeline_job_id or str(10**18 + self._store.next_id(JOB))
        job, now = pb_request.pipeline_job, self._core.clock.now()
        _check(job_id, job)
        if self._store.get(JOB, job_id) is not None:
            raise CloudError(
                grpc.StatusCode.ALREADY_EXISTS,
                f"PipelineJob {self._runner.name_of(job_id)} already exists.",
            )
        plan = self._runner.plan(job_id, job, now)
        job.name = self._runner.name_of(job_id)
        job.state = PipelineState.PIPELINE_STATE_PENDING
        job.create_time.FromDatetime(now)
        for number, stage in enumerate(plan.stages, start=1):
            task = job.job_detail.task_details.add(
                task_id=number, task_name=stage, task_unique_name=stage, state=_Task.PENDING
            )
            task.create_time.FromDatetime(now)
        self._runner.save(job)
        self._runner.keep(job_id, plan)
        self._core.effects.record(job.name, labels=dict(job.labels))
        return job

    def get_pipeline_job(self, request: Any) -> Any:
        """NOT_FOUND without it."""
        return self._runner.need(self._runner.id_of(request.name))

    def list_pipeline_jobs(self, request: Any) -> Any:
        """Newest first unless ordered; without `job_detail`, as the list view is documented."""
        pb_request = wire_types.ListPipelineJobsRequest.pb(request)
        self._core.names.locate(pb_request.parent, _PARENT, field="parent")
        keep = compile_filter(pb_request.filter, _FIELDS)
        order = compile_order(pb_request.order_by, _ORDERS)
        rows = (row for row in self._newest_first() if keep(partial(_field, row[1])))
        if order:
            ordered = sort([job for _, job in rows], order, _order_key)
            rows = (row for row in enumerate(ordered, start=1))
        found, token = page(rows, pb_request)
        response = wire_types.ListPipelineJobsResponse.meta.pb(next_page_token=token)
        for job in found:
            job.ClearField("job_detail")
            response.pipeline_jobs.append(masked(job, pb_request.read_mask.paths))
        return response

    def cancel_pipeline_job(self, request: Any) -> Any:
        """CANCELLING now, CANCELLED one step later; a finished job is refused."""
        job_id = self._runner.id_of(request.name)
        job = self._runner.need(job_id)
        if job.state not in RUNNING:
            state = PipelineState(job.state).name
            raise precondition(f"The PipelineJob is in state {state} and cannot be cancelled.")
        self._runner.cancel(job_id, job)
        return empty_pb2.Empty()

    def delete_pipeline_job(self, request: Any) -> Any:
        """A running job must be cancelled first. Its files stay."""
        job_id = self._runner.id_of(request.name)
        self._refuse_running(self._runner.need(job_id))
        return self._start("pipeline.delete", self._runner.name_of(job_id), request)

    def batch_delete_pipeline_jobs(self, request: Any) -> Any:
        """All of them or none."""
        self._check_batch(request)
        for name in request.names:
            self._refuse_running(self._runner.need(self._runner.id_of(name, "names")))
        return self._start("pipeline.batch_delete", self._core.names.vertex_parent, request)

    def batch_cancel_pipeline_jobs(self, request: Any) -> Any:
        """Skips those that have ended."""
        self._check_batch(request)
        for name in request.names:
            self._runner.need(self._runner.id_of(name, "names"))
        return self._start("pipeline.batch_cancel", self._core.names.vertex_parent, request)

    # ---- operations

    def _land_delete(self, payload: bytes) -> Any:
        self._remove(
            self._runner.id_of(wire_types.DeletePipelineJobRequest.deserialize(payload).name)
        )
        return empty_pb2.Empty()

    def _land_batch_delete(self, payload: bytes) -> Any:
        names = wire_types.BatchDeletePipelineJobsRequest.deserialize(payload).names
        jobs = [self._runner.need(self._runner.id_of(name)) for name in names]
        for job in jobs:
            self._remove(self._runner.id_of(job.name))
        return wire_types.BatchDeletePipelineJobsResponse.meta.pb(pipeline_jobs=jobs)

    def _land_batch_cancel(self, payload: bytes) -> Any:
        names = wire_types.BatchCancelPipelineJobsRequest.deserialize(payload).names
        jobs = [self._runner.need(self._runner.id_of(name)) for name in names]
        running = [job for job in jobs if job.state in RUNNING]
        for job in running:
            self._runner.cancel(self._runner.id_of(job.name), job)
        return wire_types.BatchCancelPipelineJobsResponse.meta.pb(pipeline_jobs=running)

    def _remove(self, job_id: str) -> None:
        job = self._runner.need(job_id)
        self._store.delete(JOB, job_id)
        self._core.effects.record(job.name, labels=dict(job.labels))

    # ---- helpers

    def _check_batch(self, request: Any) -> None:
        self._core.names.locate(request.parent, _PARENT, field="parent")
        if not 1 <= len(request.names) <= _BATCH:
            raise invalid("names", f"A batch has 1 to {_BATCH} PipelineJobs.")

    def _refuse_running(self, job: Any) -> None:
        if job.state in RUNNING or job.state == PipelineState.PIPELINE_STATE_CANCELLING:
            state = PipelineState(job.state).name
            raise precondition(f"The PipelineJob is in state {state} and cannot be deleted.")

    def _newest_first(self) -> Iterator[tuple[int, Any]]:
        for seq, _, blob in reversed(list(self._store.rows(JOB))):
            yield _LAST - seq, Job.FromString(blob)

    def _start(self, kind: str, resource: str, request: Any) -> Any:
        metadata = DeleteOperationMetadata()
        metadata.generic_metadata.create_time = self._core.clock.now()
        return self._core.operations.start(
            kind,
            type(request).serialize(request),
            name=f"{resource}/operations/{self._store.next_id('vertex.operation')}",
            metadata=type(metadata).pb(metadata),
        )


def _check(job_id: str, job: Any) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,126}", job_id):
        raise invalid("pipeline_job_id", "The ID must be less than 128 characters of [a-z0-9-].")
    if not re.fullmatch(r"gs://[^/]+(/.*)?", job.runtime_config.gcs_output_directory):
        raise invalid(
            "pipeline_job.runtime_config.gcs_output_directory", "A gs:// directory is required."
        )
    if not job.pipeline_spec.fields and not job.template_uri:
        raise invalid("pipeline_job.pipeline_spec", "A pipeline spec or template is required.")
    check_labels(job.labels, "pipeline_job.labels")


def _field(job: Any, field: str) -> Any:
    if field == "labels":
        return dict(job.labels)
    if field == "state":
        return PipelineState(job.state).name
    if field == "pipeline_name":
        return json_format.MessageToDict(job.pipeline_spec).get("pipelineInfo", {}).get("name")
    value = getattr(job, field)
    return value if isinstance(value, str) else datetime.fromisoformat(value.ToJsonString())


def _order_key(job: Any, field: str) -> str:
    value = getattr(job, field)
    return f"{value.seconds:020}.{value.nanos:09}"
