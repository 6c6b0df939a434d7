"""The executions of Cloud Scheduler's jobs: when each starts, and what follows from its end."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from ..core.access.callers import access_token
from ..core.core import Core
from ..server.identity.oidc import Identity
from . import rules
from .ring import Attempt, send
from .rules import Job, State

JOB = "scheduler.job"


class Executions:
    """Calls the targets, and keeps the jobs' times and outcomes in the store.

    `Clock.advance` makes the calls of the ticks that it passes one after the other and waits for
    each; ticks of real time and forced runs use a thread each.

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
                    self.arm(job)

    def reset(self) -> None:
        """Forget the attempts."""
        with self._changed:
            self.attempts.clear()
            self._delayed.clear()

    def wait_idle(self, seconds: float = 10.0) -> bool:
        """Wait (real time) until no call is running; False when one still is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._busy == 0, seconds)

    def find(self, name: str) -> Any:
        """The stored job of a name or an id, or None."""
        blob = self._store.get(JOB, name.rpartition("/")[2])
        return None if blob is None else Job.FromString(blob)

    def save(self, job: Any) -> None:
        """Store it under its name."""
        self._store.put(JOB, job.name.rpartition("/")[2], job.SerializeToString())

    def arm(self, job: Any) -> None:
        """Save the job with the time of its next execution, and wait for that."""
        tick = rules.next_tick(job, self._core.clock.now())
        job.schedule_time.FromDatetime(tick)
        self.save(job)
        name = job.name
        self._core.clock.call_at(tick, _key(job), lambda: self._tick(name, tick))

    def _tick(self, name: str, tick: datetime) -> None:
        with self._core.lock:
            job = self.find(name)
            if job is None or job.state != State.ENABLED:
                return
            self.disarm(job)
            # The next tick is armed first: an advance over several ticks meets them in order.
            if not rules.schedule_of(job).from_end:
                self.arm(job)
        with self._changed:
            if self._outstanding[name]:
                self._delayed.setdefault(name, tick)
                return
            self._outstanding[name] += 1
        self._go(lambda: self._ring(name, tick, tick))

    def disarm(self, job: Any) -> None:
        """Neither the next execution nor a retry is due any more."""
        for key in (_key(job), _retry_key(job, forced=False), _retry_key(job, forced=True)):
            self._core.clock.cancel(key)

    def force(self, job: Any, tick: datetime, now: datetime) -> None:
        """Call now, also while the job runs."""
        name = job.name
        self._enter(name)
        self._in_background(lambda: self._ring(name, tick, now, forced=True))

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
            job, at = self.find(name), self._core.clock.now()
            if job is None:
                return
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
        job = self.find(attempt.job)
        if job is None:
            return
        job.last_attempt_time.FromDatetime(attempt.at)
        job.status.Clear()
        job.status.code, job.status.message = attempt.code, attempt.message
        retry = self._retry(job, attempt, first) if attempt.code else None
        if job.state == State.ENABLED and not attempt.forced:
            if retry is None and rules.schedule_of(job).from_end:
                self.arm(job)
            # "This may be a retry of a previously failed attempt" (Job.schedule_time).
            following = retry or rules.next_tick(job, self._core.clock.now())
            job.schedule_time.FromDatetime(following)
        self.save(job)

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

    def _token(self, job: Any) -> str:
        target = job.http_target
        kind = target.WhichOneof("authorization_header")
        if kind == "oidc_token":
            oidc = target.oidc_token
            return self._identity.token(oidc.audience, oidc.service_account_email)
        email = target.oauth_token.service_account_email
        return access_token(email) if kind == "oauth_token" else ""


def _key(job: Any) -> str:
    return f"scheduler:{job.name}"


def _retry_key(job: Any, *, forced: bool) -> str:
    return f"{_key(job)}/{'forced' if forced else 'scheduled'}-retry"
