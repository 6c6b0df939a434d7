"""The webhooks of Cloud Scheduler. Google's token is verified before anything else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.security.http import HttpAuthBase

from ml_platform.api.http.errors import Unauthenticated
from ml_platform.api.http.idempotency import forget_old_answers
from ml_platform.api.schemas.base import reply
from ml_platform.api.schemas.system import WebhookOut
from ml_platform.cloud.identity import verify_token
from ml_platform.cloud.types import Identity
from ml_platform.conf import get_settings
from ml_platform.errors import Denied, Invalid, Misconfigured, NotFound
from ml_platform.jobs import JOBS, JobFailed, Status, run_job
from ml_platform.models import TrainingSchedule
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor
from ml_platform.services.scheduling.schedules import fire_schedule
from ml_platform.services.scheduling.times import YEARS

log = logging.getLogger(__name__)

SCHEDULE_TIME = "X-CloudScheduler-ScheduleTime"
"""The time a call was due, the same in each retry; the verified token makes it trustworthy."""


class GoogleToken(HttpAuthBase):
    """Requires an OIDC token of Google for one of the configured accounts.

    In DEBUG mode too: a check that development skips is not tested there (law 10).
    """

    openapi_scheme = "bearer"

    def __call__(self, request: HttpRequest) -> Identity:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated(
                "The request has no OIDC token.",
                code="no_token",
                advice="Set the job up again; its requests then have a token.",
            )
        settings = get_settings()
        audience = settings.WEBHOOK_AUDIENCE or settings.PUBLIC_URL
        if not audience or not settings.WEBHOOK_SERVICE_ACCOUNTS:
            raise Misconfigured(
                "The settings do not name the accounts that may call the webhooks.",
                advice="Set PUBLIC_URL or WEBHOOK_AUDIENCE, and WEBHOOK_SERVICE_ACCOUNTS.",
            )
        try:
            return verify_token(
                token,
                audience=audience,
                emails=settings.WEBHOOK_SERVICE_ACCOUNTS,
                certs_url=settings.WEBHOOK_CERTS_URL,
                now=database_now(),
                trust_platform=settings.WEBHOOK_TRUST_PLATFORM,
            )
        except Denied as error:
            # The reason would help only an attacker.
            log.warning("%s", error)
            raise Unauthenticated(
                "The token was refused.",
                code="bad_token",
                advice="Set the job up again; its requests then have a valid token. "
                "The log has the reason.",
            ) from error


TIME_ADVICE = "Write it as 2026-03-01T04:00:00Z, or leave the header out."
LINES = 100
"""Lines of output in the answer of a webhook; the log has them all."""

schedules = Router(tags=["webhooks"], auth=GoogleToken())
system = Router(tags=["webhooks"], auth=GoogleToken())


def actor_of(identity: Identity) -> Actor:
    """The calling account as the actor of an operation."""
    return Actor(label=identity.email, origin="scheduler")


def due_time(request: HttpRequest) -> datetime | None:
    """The time the call was due; None if a person called without the header.

    :raises Invalid: the header is not a time.
    """
    text = request.headers.get(SCHEDULE_TIME)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(
            f"{SCHEDULE_TIME} is not a time.", code="bad_schedule_time", advice=TIME_ADVICE
        ) from error
    if moment.year not in YEARS:
        raise Invalid(
            f"{SCHEDULE_TIME} is out of range.", code="bad_schedule_time", advice=TIME_ADVICE
        )
    if moment.tzinfo is None:
        raise Invalid(
            f"{SCHEDULE_TIME} has no time zone.", code="bad_schedule_time", advice=TIME_ADVICE
        )
    return moment


@schedules.post("/{int:schedule_id}/webhook/", response=WebhookOut, operation_id="ring_schedule")
def ring_schedule(request: Any, schedule_id: int) -> HttpResponse:
    """Create and submit the run of that time; repeated calls create it once."""
    schedule = TrainingSchedule.objects.filter(pk=schedule_id).first()
    if schedule is None:
        raise NotFound(f"There is no schedule {schedule_id}.", advice="Delete the job.")
    now = database_now()
    firing = fire_schedule(
        schedule=schedule,
        scheduled_for=due_time(request) or now,
        actor=actor_of(request.auth),
        now=now,
    )
    run = f"Run {firing.run.pk} of {schedule.model_name}." if firing.run else ""
    return reply({"status": "success", "message": firing.message, "output": run})


def _run_webhook(request: Any, name: str) -> HttpResponse:
    """Run a job once for each time it was due; after 503 Cloud Scheduler calls again."""
    forget_old_answers()
    lines: list[str] = []
    left_out = 0

    def write_line(line: str) -> None:
        nonlocal left_out
        if len(lines) < LINES:
            lines.append(line)
        else:
            left_out += 1

    def answer(status: Status, message: str, *words: str) -> HttpResponse:
        more = f"… and {left_out:,} more lines in the log." if left_out else ""
        output = "\n".join(filter(None, [*lines, more, *words]))
        body = {"status": status, "message": message, "output": output}
        return reply(body, status=503 if status == "error" else 200)

    try:
        report = run_job(
            name,
            actor=actor_of(request.auth),
            clock=database_now,
            due=due_time(request),
            write_line=write_line,
        )
    except JobFailed as error:
        return answer("error", str(error), error.advice)
    return answer(report.status, report.message, report.waits, report.output)


def _webhook_of(name: str) -> Callable[[Any], HttpResponse]:
    def webhook(request: Any) -> HttpResponse:
        return _run_webhook(request, name)

    return webhook


for _job in JOBS.values():
    system.post(
        f"/{_job.webhook.removeprefix('api/system/')}",
        response={200: WebhookOut, 503: WebhookOut},
        operation_id=f"ring_{_job.noun}",
        summary=f"Run {_job.noun.replace('_', ' ')}",
        description=_job.description,
    )(_webhook_of(_job.name))
