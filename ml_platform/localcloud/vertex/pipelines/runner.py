"""Runs jobs: one step each `stage_seconds` of the Clock, from PENDING to their chosen ending."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

import grpc
from google.cloud.aiplatform_v1.types import pipeline_job as gca_job
from google.cloud.aiplatform_v1.types.pipeline_state import PipelineState
from google.protobuf import json_format
from google.rpc import status_pb2

from ...core.core import Core
from ...core.errors import invalid, not_found
from . import plan as plans

JOB, PLAN = "pipeline", "pipeline.plan"
NAME = "projects/{project}/locations/{location}/pipelineJobs/{job}"
RUNNING = frozenset(
    {
        PipelineState.PIPELINE_STATE_QUEUED,
        PipelineState.PIPELINE_STATE_PENDING,
        PipelineState.PIPELINE_STATE_RUNNING,
    }
)
ACTIVE = RUNNING | {PipelineState.PIPELINE_STATE_CANCELLING}
Job: Any = gca_job.PipelineJob.meta.pb
_Task: Any = gca_job.PipelineTaskDetail.State
_State: Any = PipelineState


class Files(Protocol):
    """What pipelines need from Cloud Storage."""

    def write(self, bucket: str, name: str, data: bytes) -> int:
        """Write an object, making its bucket if need be."""


class Runner:
    """The jobs in the store and the timers that move them."""

    def __init__(self, core: Core, storage: Files) -> None:
        self._core, self._store, self._storage = core, core.store, storage
        self.stage_seconds = 2.0
        self.orders: list[plans.Order] = []
        self.ended: list[Callable[[Any], None]] = []

    def rearm(self) -> None:
        """After a restart: set the timers of the running jobs."""
        for job_id, blob in self._store.list(PLAN):
            self._arm(job_id, plans.Plan.load(blob))

    def plan(self, job_id: str, job: Any, now: datetime) -> plans.Plan:
        """The plan of a new job; INVALID_ARGUMENT for an invalid ending or spec."""
        order = next((o for o in self.orders if o.fits(job.display_name, job.labels)), None)
        outcome = job.labels.get(plans.LABEL) or _parameter(job, plans.LABEL)
        try:
            stages = plans.stages_of(json_format.MessageToDict(job.pipeline_spec))
            ending = plans.Ending.parse(outcome) if outcome else plans.Ending("success")
        except ValueError as error:
            raise invalid("pipeline_job", str(error)) from None
        if order is not None and not outcome:
            ending = order.ending
        return plans.Plan(
            stages,
            ending.kind,
            plans.stop_at(ending, stages),
            self.stage_seconds,
            (now + timedelta(seconds=self.stage_seconds)).isoformat(),
            plans.metrics_of(job_id) | dict(order.metrics if order is not None else {}),
        )

    def _step(self, job_id: str) -> None:
        with self._core.lock:
            blob = self._store.get(PLAN, job_id)
            if blob is None:
                return
            plan, job = plans.Plan.load(blob), self.need(job_id)
            if job.state == _State.PIPELINE_STATE_CANCELLING:
                self._end(job_id, job, _State.PIPELINE_STATE_CANCELLED)
            elif plan.step and not self._finish(job_id, job, plan):
                self._end(job_id, job, _State.PIPELINE_STATE_FAILED)
            elif plan.step == len(plan.stages):
                self._end(job_id, job, _State.PIPELINE_STATE_SUCCEEDED)
            else:
                self._begin(job_id, job, plan)

    def _begin(self, job_id: str, job: Any, plan: plans.Plan) -> None:
        now = self._core.clock.now()
        if plan.step == 0:
            job.state = _State.PIPELINE_STATE_RUNNING
            job.start_time.FromDatetime(now)
        task = job.job_detail.task_details[plan.step]
        task.state = _Task.RUNNING
        task.start_time.FromDatetime(now)
        self.save(job)
        if plan.kind == "hang" and plan.step == plan.stop:
            self._store.delete(PLAN, job_id)
            return
        due = (now + timedelta(seconds=plan.seconds)).isoformat()
        self.keep(job_id, replace(plan, step=plan.step + 1, due=due))

    def _finish(self, job_id: str, job: Any, plan: plans.Plan) -> bool:
        index = plan.step - 1
        task = job.job_detail.task_details[index]
        task.end_time.FromDatetime(self._core.clock.now())
        if plan.kind == "fail" and index == plan.stop:
            error = status_pb2.Status(
                code=grpc.StatusCode.FAILED_PRECONDITION.value[0],
                message="The DAG failed because some tasks failed. The failed tasks are: "
                f"[{task.task_name}].; Job (project_id = {self._core.names.project}, "
                f"job_id = {job_id}) is failed due to the above error.",
            )
            task.state = _Task.FAILED
            task.error.CopyFrom(error)
            job.error.CopyFrom(error)
            return False
        task.state = _Task.SUCCEEDED
        root = job.runtime_config.gcs_output_directory.removeprefix("gs://")
        bucket, _, folder = root.rstrip("/").partition("/")
        for name, data in plans.files_after(index, plan, job_id).items():
            self._storage.write(bucket, f"{folder}/{name}" if folder else name, data)
        return True

    def _end(self, job_id: str, job: Any, state: int) -> None:
        job.state = state
        job.end_time.FromDatetime(self._core.clock.now())
        if state == _State.PIPELINE_STATE_CANCELLED:
            job.error.code = grpc.StatusCode.CANCELLED.value[0]
            job.error.message = "The PipelineJob was cancelled."
        left = {_Task.PENDING: _Task.NOT_TRIGGERED, _Task.RUNNING: _Task.CANCELLED}
        for task in job.job_detail.task_details:
            task.state = left.get(task.state, task.state)
        self.save(job)
        self._store.delete(PLAN, job_id)
        for fn in self.ended:
            fn(job)

    def cancel(self, job_id: str, job: Any) -> None:
        """CANCELLING now, CANCELLED one step later."""
        job.state = _State.PIPELINE_STATE_CANCELLING
        self.save(job)
        self._core.effects.record(job.name, labels=dict(job.labels))
        due = self._core.clock.now() + timedelta(seconds=self.stage_seconds)
        # A job that hangs has no plan left; to be cancelled it needs no more than a due time.
        self.keep(job_id, plans.Plan((), "cancel", 0, 0.0, due.isoformat()))

    def save(self, job: Any) -> None:
        """Store a job, updated now."""
        job.update_time.FromDatetime(self._core.clock.now())
        self._store.put(JOB, self.id_of(job.name), job.SerializeToString())

    def keep(self, job_id: str, plan: plans.Plan) -> None:
        """Store the remaining plan and set its timer."""
        self._store.put(PLAN, job_id, plan.dump())
        self._arm(job_id, plan)

    def _arm(self, job_id: str, plan: plans.Plan) -> None:
        due = datetime.fromisoformat(plan.due)
        self._core.clock.call_at(
            due, f"pipeline:{self.name_of(job_id)}", partial(self._step, job_id)
        )

    def name_of(self, job_id: str) -> str:
        """`projects/NUMBER/locations/L/pipelineJobs/ID`."""
        return f"{self._core.names.vertex_parent}/pipelineJobs/{job_id}"

    def id_of(self, name: str, field: str = "name") -> str:
        """The last segment of one of our names."""
        return self._core.names.locate(name, NAME, field=field)["job"]

    def need(self, job_id: str) -> Any:
        """The job; NOT_FOUND without it."""
        blob = self._store.get(JOB, job_id)
        if blob is None:
            raise not_found("The PipelineJob does not exist.")
        return Job.FromString(blob)


def _parameter(job: Any, name: str) -> str:
    config = job.runtime_config
    if name in config.parameter_values:
        return str(config.parameter_values[name].string_value)
    return str(config.parameters[name].string_value) if name in config.parameters else ""
