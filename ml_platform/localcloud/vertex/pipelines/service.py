"""Vertex AI PipelineService: jobs walk through their stages on the Clock and leave real files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import grpc
from google.cloud.aiplatform_v1.types import pipeline_job as gca_job
from google.cloud.aiplatform_v1.types import pipeline_service as wire_types
from google.cloud.aiplatform_v1.types.operation import DeleteOperationMetadata
from google.cloud.aiplatform_v1.types.pipeline_state import PipelineState
from google.protobuf import empty_pb2

from ...core.core import Core
from ...core.errors import CloudError, invalid, precondition
from ...core.lists.filters import compile_filter, compile_order, sort
from ...core.lists.pages import page
from . import plan as plans
from . import rules
from .runner import ACTIVE, JOB, RUNNING, Files, Job, Runner

_PARENT = "projects/{project}/locations/{location}"
_BATCH = 32
_BILLING_LABEL = "vertex-ai-pipelines-run-billing-id"
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
        return self.start(wire_types.CreatePipelineJobRequest.pb(request))

    def check(self, request: Any) -> None:
        """INVALID_ARGUMENT for a CreatePipelineJobRequest that would be refused by itself."""
        self._core.names.locate(request.parent, _PARENT, field="parent")
        rules.check_job(request.pipeline_job_id, request.pipeline_job)

    def start(self, request: Any, schedule_name: str = "") -> Any:
        """Create the job of a plain CreatePipelineJobRequest, perhaps for a schedule."""
        self.check(request)
        job_id = request.pipeline_job_id or str(10**18 + self._store.next_id(JOB))
        if self._store.get(JOB, job_id) is not None:
            raise CloudError(
                grpc.StatusCode.ALREADY_EXISTS,
                f"PipelineJob {self._runner.name_of(job_id)} already exists.",
            )
        job, now = Job(), self._core.clock.now()
        job.CopyFrom(request.pipeline_job)
        rules.without_output(job)
        plan = self._runner.plan(job_id, job, now)
        job.name, job.schedule_name = self._runner.name_of(job_id), schedule_name
        job.service_account = job.service_account or (
            f"{self._core.names.number}-compute@developer.gserviceaccount.com"
        )
        # "User set value will get overrided" (pipeline_job.proto, PipelineJob.labels).
        job.labels[_BILLING_LABEL] = str(10**18 + self._store.next_id(_BILLING_LABEL))
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

    def count_active(self, schedule_name: str) -> int:
        """How many jobs of a schedule have not ended."""
        return sum(
            job.schedule_name == schedule_name and job.state in ACTIVE
            for _, job in self._newest_first()
        )

    def on_end(self, fn: Callable[[Any], None]) -> None:
        """Have `fn` called with each job that ends, under the cloud's lock."""
        self._runner.ended.append(fn)

    def get_pipeline_job(self, request: Any) -> Any:
        """NOT_FOUND without it."""
        return self._runner.need(self._runner.id_of(request.name))

    def list_pipeline_jobs(self, request: Any) -> Any:
        """Newest first unless ordered; without `job_detail`, as the list view is documented."""
        pb_request = wire_types.ListPipelineJobsRequest.pb(request)
        self._core.names.locate(pb_request.parent, _PARENT, field="parent")
        keep = compile_filter(pb_request.filter, rules.FILTERS)
        order = compile_order(pb_request.order_by, rules.ORDERS)
        rules.check_mask(pb_request.read_mask.paths)
        rows = (row for row in self._newest_first() if keep(partial(rules.field_of, row[1])))
        if order:
            ordered = sort([job for _, job in rows], order, rules.order_key)
            rows = (row for row in enumerate(ordered, start=1))
        found, token = page(rows, pb_request)
        response = wire_types.ListPipelineJobsResponse.meta.pb(next_page_token=token)
        for job in found:
            job.ClearField("job_detail")
            response.pipeline_jobs.append(rules.masked(job, pb_request.read_mask.paths))
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
        if job.state in ACTIVE:
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
