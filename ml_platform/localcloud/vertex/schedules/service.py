"""Vertex AI ScheduleService: starts PipelineJobs at their cron times on the cloud's Clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from google.cloud.aiplatform_v1.types import schedule_service as wire_types
from google.cloud.aiplatform_v1.types.operation import DeleteOperationMetadata
from google.protobuf import empty_pb2

from ...core.core import Core
from ...core.errors import CloudError, not_found, precondition
from ...core.lists.filters import compile_filter, compile_order, sort
from ...core.lists.pages import page
from ..pipelines.service import PipelineService
from . import rules
from .rules import Schedule, State

SCHEDULE = "schedule"
_PARENT = "projects/{project}/locations/{location}"
_NAME = _PARENT + "/schedules/{schedule}"
_LAST = 1 << 62
_BETWEEN_STARTS = timedelta(seconds=1)


class ScheduleService:
    """Runs from a template, `create_pipeline_job_request`.

    `next_run_time` is the oldest run that has not been started. It lies in the past while runs
    wait: for a free place (`allow_queueing`), or to be made up for (`catch_up`). At most
    `max_concurrent_run_count` runs are started at once, the next ones a second later.
    """

    def __init__(self, core: Core, pipelines: PipelineService) -> None:
        self._core, self._store, self._pipelines = core, core.store, pipelines
        core.operations.on("schedule.delete", self._land_delete)
        pipelines.on_end(self._job_ended)

    def rearm(self) -> None:
        """After a restart: runs that were missed are skipped, unless they wait for their turn."""
        with self._core.lock:
            for _, blob in list(self._store.list(SCHEDULE)):
                schedule = Schedule.FromString(blob)
                if schedule.state == State.ACTIVE:
                    if not (schedule.catch_up or schedule.allow_queueing):
                        self._plan_anew(schedule)
                    self._save(schedule)

    # ---- calls

    def create_schedule(self, request: Any) -> Any:
        """ACTIVE at once; its template is checked as CreatePipelineJob would check it."""
        pb_request = wire_types.CreateScheduleRequest.pb(request)
        self._core.names.locate(pb_request.parent, _PARENT, field="parent")
        schedule, now = rules.new_schedule(pb_request.schedule), self._core.clock.now()
        self._pipelines.check(schedule.create_pipeline_job_request)
        number = 10**18 + self._store.next_id(SCHEDULE)
        schedule.name = f"{self._core.names.vertex_parent}/schedules/{number}"
        schedule.state = State.ACTIVE
        schedule.create_time.FromDatetime(now)
        if not schedule.HasField("start_time"):
            schedule.start_time.FromDatetime(now)
        self._plan_anew(schedule)
        return self._changed(schedule)

    def get_schedule(self, request: Any) -> Any:
        """NOT_FOUND without it."""
        return self._need(request.name)

    def list_schedules(self, request: Any) -> Any:
        """Newest first unless ordered."""
        pb_request = wire_types.ListSchedulesRequest.pb(request)
        self._core.names.locate(pb_request.parent, _PARENT, field="parent")
        keep = compile_filter(pb_request.filter, rules.FILTERS)
        order = compile_order(pb_request.order_by, rules.ORDERS)
        rows = reversed([(n, Schedule.FromString(b)) for n, _, b in self._store.rows(SCHEDULE)])
        kept = [(_LAST - n, one) for n, one in rows if keep(partial(rules.field_of, one))]
        if order:
            ordered = sort([one for _, one in kept], order, rules.order_key)
            kept = list(enumerate(ordered, start=1))
        found, token = page(kept, pb_request)
        response = wire_types.ListSchedulesResponse.meta.pb(next_page_token=token)
        response.schedules.extend(found)
        return response

    def update_schedule(self, request: Any) -> Any:
        """Of an active or paused one; runs that were not started before the update are skipped."""
        pb_request = wire_types.UpdateScheduleRequest.pb(request)
        stored = self._need(pb_request.schedule.name, "schedule.name")
        if stored.state == State.COMPLETED:
            raise precondition("The Schedule is in state COMPLETED and cannot be updated.")
        schedule = rules.updated(stored, pb_request.schedule, pb_request.update_mask.paths)
        self._pipelines.check(schedule.create_pipeline_job_request)
        self._plan_anew(schedule)
        return self._changed(schedule)

    def pause_schedule(self, request: Any) -> Any:
        """Only an active one; jobs that it started go on."""
        schedule = rules.turned(self._need(request.name), State.ACTIVE, State.PAUSED)
        schedule.last_pause_time.FromDatetime(self._core.clock.now())
        self._changed(schedule)
        return empty_pb2.Empty()

    def resume_schedule(self, request: Any) -> Any:
        """Only a paused one; with `catch_up` the missed runs come first, else they are skipped."""
        schedule = rules.turned(self._need(request.name), State.PAUSED, State.ACTIVE)
        schedule.last_resume_time.FromDatetime(self._core.clock.now())
        schedule.catch_up = request.catch_up
        if not request.catch_up:
            self._plan_anew(schedule)
        self._changed(schedule)
        return empty_pb2.Empty()

    def delete_schedule(self, request: Any) -> Any:
        """Its jobs stay."""
        schedule = self._need(request.name)
        metadata = DeleteOperationMetadata()
        metadata.generic_metadata.create_time = self._core.clock.now()
        return self._core.operations.start(
            "schedule.delete",
            type(request).serialize(request),
            name=f"{schedule.name}/operations/{self._store.next_id('vertex.operation')}",
            metadata=type(metadata).pb(metadata),
        )

    def _land_delete(self, payload: bytes) -> Any:
        schedule = self._need(wire_types.DeleteScheduleRequest.deserialize(payload).name)
        self._core.clock.cancel(f"schedule:{schedule.name}")
        self._store.delete(SCHEDULE, schedule.name)
        self._core.effects.record(schedule.name)
        return empty_pb2.Empty()

    # ---- runs

    def _due(self, name: str) -> None:
        """Start what is due, as far as there is place; then wait for what comes next."""
        with self._core.lock:
            blob = self._store.get(SCHEDULE, name)
            schedule = Schedule.FromString(blob or b"")
            if schedule.state != State.ACTIVE:
                return
            now, starts = self._core.clock.now(), 0
            while starts < schedule.max_concurrent_run_count and rules.has_run(schedule, now):
                full = self._is_full(schedule)
                if full and schedule.allow_queueing:
                    break
                if not full:
                    self._run(schedule)
                    starts += 1
                self._plan(schedule, rules.time_of(schedule, "next_run_time") or now)
            self._save(schedule)

    def _run(self, schedule: Any) -> None:
        last = schedule.last_scheduled_run_response
        last.scheduled_run_time.CopyFrom(schedule.next_run_time)
        try:
            job = self._pipelines.start(schedule.create_pipeline_job_request, schedule.name)
        except CloudError as error:
            last.run_response = error.message
        else:
            last.run_response = job.name
            schedule.started_run_count += 1

    def _is_full(self, schedule: Any) -> bool:
        limit: int = schedule.max_concurrent_active_run_count
        return 0 < limit <= self._pipelines.count_active(schedule.name)

    def _job_ended(self, job: Any) -> None:
        """A place is free: a run that waits in the queue of its schedule can start."""
        if job.schedule_name:
            self._due(job.schedule_name)

    def _plan_anew(self, schedule: Any) -> None:
        start = rules.time_of(schedule, "start_time") or self._core.clock.now()
        self._plan(schedule, max(start, self._core.clock.now()))

    def _plan(self, schedule: Any, after: datetime) -> None:
        schedule.next_run_time.FromDatetime(rules.next_run(schedule.cron, after))

    def _save(self, schedule: Any) -> None:
        """Store it; COMPLETED once no run is left, else its timer is set."""
        now, key = self._core.clock.now(), f"schedule:{schedule.name}"
        self._core.clock.cancel(key)
        if schedule.state == State.ACTIVE:
            if rules.is_complete(schedule, now):
                schedule.state = State.COMPLETED
                schedule.ClearField("next_run_time")
            elif not (rules.has_run(schedule, now) and self._is_full(schedule)):
                when = max(rules.wakes_at(schedule), now + _BETWEEN_STARTS)
                self._core.clock.call_at(when, key, partial(self._due, schedule.name))
        schedule.update_time.FromDatetime(now)
        self._store.put(SCHEDULE, schedule.name, schedule.SerializeToString())

    # ---- helpers

    def _changed(self, schedule: Any) -> Any:
        self._save(schedule)
        self._core.effects.record(schedule.name, detail={"cron": schedule.cron})
        return schedule

    def _need(self, name: str, field: str = "name") -> Any:
        number = self._core.names.locate(name, _NAME, field=field)["schedule"]
        blob = self._store.get(SCHEDULE, f"{self._core.names.vertex_parent}/schedules/{number}")
        if blob is None:
            raise not_found("The Schedule does not exist.")
        return Schedule.FromString(blob)
