"""Cloud Scheduler: jobs that call their target on the cloud's Clock, with a signed token."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
from google.cloud.scheduler_v1.types import cloudscheduler as wire_types
from google.protobuf import empty_pb2

from ..core.core import Core
from ..core.errors import CloudError, not_found, precondition
from ..core.lists.pages import page, start_of
from ..server.identity.oidc import Identity
from . import rules
from .executions import JOB, Executions
from .rules import Job, State

_PARENT = "projects/{project}/locations/{location}"
_NAME = _PARENT + "/jobs/{job}"
_LIST_LIMIT = 500


class CloudScheduler:
    """google.cloud.scheduler.v1.CloudScheduler for HTTP targets.

    `attempts` records every call.
    """

    def __init__(self, core: Core, identity: Identity) -> None:
        self._core, self._store = core, core.store
        self._executions = Executions(core, identity)
        self.attempts = self._executions.attempts
        self.rearm, self.reset = self._executions.rearm, self._executions.reset
        self.wait_idle = self._executions.wait_idle

    # the API

    def create_job(self, request: Any) -> Any:
        """ALREADY_EXISTS for a name that is taken; a job without a name gets one."""
        pb_request = wire_types.CreateJobRequest.pb(request)
        self._core.names.locate(pb_request.parent, _PARENT, field="parent", api="cloudscheduler")
        job = rules.merge(Job(), pb_request.job, ())
        job_id = self._id(pb_request.job.name) if pb_request.job.name else uuid.uuid4().hex[:20]
        rules.check_job_id(job_id)
        job.name = f"{self._core.names.parent}/jobs/{job_id}"
        rules.fill_defaults(job)
        rules.check_job(job)
        if self._store.get(JOB, job_id) is not None:
            raise CloudError(grpc.StatusCode.ALREADY_EXISTS, f"Job {job.name} already exists.")
        job.state = State.ENABLED
        return self._changed_by_user(job)

    def get_job(self, request: Any) -> Any:
        """NOT_FOUND when no job has that name."""
        return self._need(request.name)

    def list_jobs(self, request: Any) -> Any:
        """In pages of at most 500, also for a larger page size."""
        self._core.names.locate(request.parent, _PARENT, field="parent", api="cloudscheduler")
        pb_request = wire_types.ListJobsRequest(request)
        pb_request.page_size = min(max(pb_request.page_size, 0), _LIST_LIMIT)
        rows = self._store.rows(JOB, after=start_of(pb_request))
        found, token = page(
            ((seq, Job.FromString(blob)) for seq, _, blob in rows),
            pb_request,
            default=_LIST_LIMIT,
            limit=_LIST_LIMIT,
        )
        answer: Any = wire_types.ListJobsResponse.meta.pb
        return answer(jobs=found, next_page_token=token)

    def update_job(self, request: Any) -> Any:
        """NOT_FOUND when no job has that name."""
        pb_request = wire_types.UpdateJobRequest.pb(request)
        stored = self._need(pb_request.job.name)
        job = rules.merge(stored, pb_request.job, pb_request.update_mask.paths)
        rules.fill_defaults(job)
        rules.check_job(job)
        return self._changed_by_user(job)

    def delete_job(self, request: Any) -> Any:
        """A running call continues."""
        job = self._need(request.name)
        self._executions.disarm(job)
        self._store.delete(JOB, self._id(job.name))
        self._core.effects.record(job.name)
        return empty_pb2.Empty()

    def pause_job(self, request: Any) -> Any:
        """FAILED_PRECONDITION unless the job is enabled."""
        return self._turn(request.name, State.ENABLED, State.PAUSED)

    def resume_job(self, request: Any) -> Any:
        """FAILED_PRECONDITION unless the job is paused."""
        return self._turn(request.name, State.PAUSED, State.ENABLED)

    def run_job(self, request: Any) -> Any:
        """Call now, independently of the schedule; the call has the time of the next tick."""
        job = self._need(request.name)
        now = self._core.clock.now()
        tick = rules.next_tick(job, now)
        self._core.effects.record(job.name, detail={"forced": True})
        self._executions.force(job, tick, now)
        return job

    def _turn(self, name: str, before: Any, after: Any) -> Any:
        job = self._need(name)
        if job.state != before:
            raise precondition(f"Job state must be {before.name} for this; it is not.")
        job.state = after
        return self._changed_by_user(job)

    def _changed_by_user(self, job: Any) -> Any:
        job.user_update_time.FromDatetime(self._core.clock.now())
        if job.state == State.ENABLED:
            self._executions.arm(job)
        else:
            self._executions.disarm(job)
            job.ClearField("schedule_time")
            self._executions.save(job)
        self._core.effects.record(job.name, detail={"schedule": job.schedule, "state": job.state})
        return job

    # helpers

    def _id(self, name: str) -> str:
        return self._core.names.locate(name, _NAME, api="cloudscheduler")["job"]

    def _need(self, name: str) -> Any:
        job = self._executions.find(self._id(name))
        if job is None:
            raise not_found(f"Job not found. Resource name: {name}")
        return job
