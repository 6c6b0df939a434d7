"""Cloud Scheduler: jobs that call their target on the cloud's Clock, with a signed token."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import grpc
from google.cloud.scheduler_v1.types import cloudscheduler as wire_types
from google.protobuf import empty_pb2

from ..core.callers import access_token
from ..core.core import Core
from ..core.errors import CloudError, not_found, precondition
from ..core.pages import page, start_of
from ..server.oidc import Identity
from . import rules
from .ring import Attempt, send
from .rules import Job, State

JOB = "scheduler.job"
_PARENT = "projects/{project}/locations/{location}"
_NAME = _PARENT + "/jobs/{job}"
_LIST_LIMIT = 500


class CloudScheduler:
    """google.cloud.scheduler.v1.CloudScheduler for HTTP targets.

    `Clock.advance` makes the calls of the ticks that it passes one after the other and waits for
    each; ticks of real time and forced runs use a thread each. `attempts` records every call.

    Never are two scheduled executions of a job outstanding: one that is due while another runs
    starts when that ends (Job.schedule). Only a forced run does not wait (RunJob).
    """

    def __init__(self, core: Core, identity: Identity) -> None:
        self._core, self._store, self._identity = core, core.store, identity
        self.attempts: list[Attempt] = []
        self._busy = 0
        self._outstanding: Counter[str] = Counter()
        self._delayed: dict[str, datetime] = {}
        self._changed = threading.Condition()

    def rearm(self) -> None:
        """After a restart: wait for the next ticks; those that passed since are skipped."""
        with self._core.lock:
            for _, blob in list(self._store.list(JOB)):
                job = Job.FromString(blob)
                if job.state == State.ENABLED:
                    self._schedule(job)

    def reset(self) -> None:
        """Forget the attempts."""
        with self._changed:
            self.attempts.clear()
            self._delayed.clear()

    def wait_idle(self, seconds: float = 10.0) -> bool:
        """Wait (real time) until no call is running; False when one still is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._busy == 0, seconds)

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
        self._disarm(job)
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
        self._enter(job.name)
        self._in_background(lambda: self._ring(job.name, tick, now, forced=True))
        return job

    # ticking

    def _turn(self, name: str, before: Any, after: Any) -> Any:
        job = self._need(name)
        if job.state != before:
            raise precondition(f"Job state must be {before.name} for this; it is not.")
        job.state = after
        return self._changed_by_user(job)

    def _changed_by_user(self, job: Any) -> Any:
        job.user_update_time.FromDatetime(self._core.clock.now())
        if job.state == State.ENABLED:
            self._schedule(job)
        else:
            self._disarm(job)
            job.ClearField("schedule_time")
            self._save(job)
        self._core.effects.record(job.name, detail={"schedule": job.schedule, "state": job.state})
        return job

    def _schedule(self, job: Any) -> None:
        tick = rules.next_tick(job, self._core.clock.now())
        job.schedule_time.FromDatetime(tick)
        self._save(job)
        name = job.name
        self._core.clock.call_at(tick, _key(job), lambda: self._tick(name, tick))

    def _tick(self, name: str, tick: datetime) -> None:
        with self._core.lock:
            blob = self._store.get(JOB, self._id(name))
            if blob is None:
                return
            job = Job.FromString(blob)
            if job.state != State.ENABLED:
                return
            self._disarm(job)
            # The next tick is armed first: an advance over several ticks meets them in order.
            if not rules.schedule_of(job).from_end:
                self._schedule(job)
        with self._changed:
            if self._outstanding[name]:
                self._delayed.setdefault(name, tick)
                return
            self._outstanding[name] += 1
        self._go(lambda: self._ring(name, tick, tick))

    def _disarm(self, job: Any) -> None:
        """Neither the next execution nor a retry is due any more."""
        for key in (_key(job), _retry_key(job, forced=False), _retry_key(job, forced=True)):
            self._core.clock.cancel(key)

    def _enter(self, name: str) -> None:
        with self._changed:
            self._outstanding[name] += 1

    def _leave(self, name: str) -> None:
        """An attempt ended: start the execution that waits for it, if the job may still run."""
        with self._changed:
            self._outstanding[name] -= 1
            if self._outstanding[name] or name not in self._delayed:
                return
            tick = self._delayed.pop(name)
        self._tick(name, tick)

    def _go(self, call: Callable[[], None]) -> None:
        """Make the call; an advance of the Clock waits for it, the Clock's own thread must not."""
        thread = self._in_background(call)
        if self._core.clock.advancing:
            thread.join()

    def _in_background(self, call: Callable[[], None]) -> threading.Thread:
        with self._changed:
            self._busy += 1

        there = self._core.names.carried(call)

        def run() -> None:
            try:
                there()
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

        thread = threading.Thread(target=run, name="localcloud-ring", daemon=True)
        thread.start()
        return thread

    def _ring(
        self, name: str, tick: datetime, first: datetime, *, retry: int = 0, forced: bool = False
    ) -> None:
        """Send the request without holding the cloud's lock: the target may call back."""
        try:
            with self._core.lock:
                blob = self._store.get(JOB, self._id(name))
            if blob is None:
                return
            job, at = Job.FromString(blob), self._core.clock.now()
            headers = rules.headers_of(job, tick, self._token(job))
            http_status, code, message = send(job, headers)
            attempt = Attempt(name, at, tick, retry, forced, http_status, code, message)
            with self._changed:
                self.attempts.append(attempt)
            with self._core.lock:
                self._note(attempt, first)
        finally:
            self._leave(name)

    def _note(self, attempt: Attempt, first: datetime) -> None:
        """Write the outcome into the job, unless it is gone, and set the time of what follows."""
        blob = self._store.get(JOB, self._id(attempt.job))
        if blob is None:
            return
        job = Job.FromString(blob)
        job.last_attempt_time.FromDatetime(attempt.at)
        job.status.Clear()
        job.status.code, job.status.message = attempt.code, attempt.message
        retry = self._retry(job, attempt, first) if attempt.code else None
        if job.state == State.ENABLED and not attempt.forced:
            if retry is None and rules.schedule_of(job).from_end:
                self._schedule(job)
            # "This may be a retry of a previously failed attempt" (Job.schedule_time).
            following = retry or rules.next_tick(job, self._core.clock.now())
            job.schedule_time.FromDatetime(following)
        self._save(job)

    def _retry(self, job: Any, attempt: Attempt, first: datetime) -> datetime | None:
        """Set the timer of the next retry; None when there is none.

        A retry ends with the next scheduled time (RetryConfig.retry_count), which has come when an
        execution waits for this one.
        """
        number = attempt.retry + 1
        due = attempt.at + rules.backoff(job.retry_config, number)
        if not rules.may_retry(job.retry_config, number, due - first):
            return None
        if job.name in self._delayed:
            return None
        name, tick, forced = job.name, attempt.schedule_time, attempt.forced

        def again() -> None:
            self._enter(name)
            self._go(lambda: self._ring(name, tick, first, retry=number, forced=forced))

        self._core.clock.call_at(due, _retry_key(job, forced=forced), again)
        return due

    # helpers

    def _token(self, job: Any) -> str:
        target = job.http_target
        kind = target.WhichOneof("authorization_header")
        if kind == "oidc_token":
            oidc = target.oidc_token
            return self._identity.token(oidc.audience, oidc.service_account_email)
        email = target.oauth_token.service_account_email
        return access_token(email) if kind == "oauth_token" else ""

    def _id(self, name: str) -> str:
        return self._core.names.locate(name, _NAME, api="cloudscheduler")["job"]

    def _need(self, name: str) -> Any:
        blob = self._store.get(JOB, self._id(name))
        if blob is None:
            raise not_found(f"Job not found. Resource name: {name}")
        return Job.FromString(blob)

    def _save(self, job: Any) -> None:
        self._store.put(JOB, self._id(job.name), job.SerializeToString())


def _key(job: Any) -> str:
    return f"scheduler:{job.name}"


def _retry_key(job: Any, *, forced: bool) -> str:
    return f"{_key(job)}/{'forced' if forced else 'scheduled'}-retry"
