"""The Endpoints, Runs and Schedules tables of the training page."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ml_platform.actions.caller import Caller
from ml_platform.actions.endpoints import Known
from ml_platform.actions.schedules import CREATE_FROM_RUN
from ml_platform.errors import Invalid
from ml_platform.kpis import Traffic, service_traffic
from ml_platform.models import DeployedEndpoint, TrainingRun, TrainingSchedule
from ml_platform.models.endpoints.serving_truth import ServingTruth
from ml_platform.models.states import TRAINING_RUN_STATUSES, EndpointState, ScheduleState
from ml_platform.pages.common.buttons import endpoint_buttons
from ml_platform.pages.view_models.addresses import url_of
from ml_platform.pages.view_models.badges import ENDPOINT_TONES, RUN_TONES, SCHEDULE_TONES, badge
from ml_platform.pages.view_models.context import Badge, Link, Values
from ml_platform.pages.view_models.fact_list import readable
from ml_platform.pages.view_models.metrics import main_metric
from ml_platform.pages.view_models.serialize import in_words
from ml_platform.pages.view_models.times import duration, elapsed, iso, moment
from ml_platform.services.scheduling.ringing import is_silent, job_finding, status_of
from ml_platform.services.scheduling.times import next_times

from .buttons import more_of_run, run_buttons, schedule_buttons
from .registry_table import model_url

TIMES_SHOWN = 3
MODEL_DELETED = "Its version was deleted, so it cannot be deployed again."
SERVES_UNVERIFIED = "It serves what is not a registered, verified version."
NOT_VERIFIED_YET = "What it serves is not verified yet."
RESTORABLE = "It is stopped and can be deployed again."


def endpoint_rows(
    endpoints: Iterable[DeployedEndpoint],
    *,
    project_id: Any,
    caller: Caller,
    known: Known,
    now: datetime,
) -> list[Values]:
    """Lines for a project's endpoints; their runs and models must be loaded. One statement."""
    shown = list(endpoints)
    names = [one.service_name for one in shown]
    traffic = service_traffic(names, project_id=project_id, today=now.date())
    return [
        {
            "id": endpoint.pk,
            "service": endpoint.service_name,
            "url": endpoint.url,
            "model": Link(
                text=endpoint.registered_model.model_name,
                url=model_url(endpoint.registered_model_id),
            ),
            "version": _version(endpoint),
            "state": endpoint_badge(endpoint, unread=known.serving_unread),
            "deleted": deleted_badge(endpoint),
            "note": endpoint.error,
            **(
                _figures(traffic[endpoint.service_name]) if endpoint.service_name in traffic else {}
            ),
            "deployed": moment(endpoint.deployed_at, now),
            "acts": endpoint_buttons(caller, endpoint, known),
        }
        for endpoint in shown
    ]


def endpoint_badge(endpoint: DeployedEndpoint, *, unread: str) -> Badge:
    """Whether an endpoint that `with_serving_truth` has annotated is active, changing or stopped.

    An active one is good only if what it serves is verified; `unread` is why that is unknown now.
    """
    if endpoint.state == EndpointState.INACTIVE:
        hint = "" if endpoint.model_deleted else RESTORABLE
        return badge("Stopped", "quiet", hint)
    truth: str = endpoint.serving_truth  # type: ignore[attr-defined] # annotated
    if endpoint.state != EndpointState.ACTIVE or (truth == ServingTruth.VERIFIED and not unread):
        return badge(endpoint.get_state_display(), ENDPOINT_TONES[endpoint.state])
    if truth == ServingTruth.UNVERIFIED:
        return badge("Active, unverified", "bad", SERVES_UNVERIFIED)
    return badge("Active", "unknown", unread or NOT_VERIFIED_YET)


def deleted_badge(endpoint: DeployedEndpoint) -> Badge | None:
    """The badge of an endpoint whose model was deleted."""
    if not endpoint.model_deleted:
        return None
    return badge("Model Deleted", "warn", MODEL_DELETED, "model-deleted")


def _version(endpoint: DeployedEndpoint) -> str:
    served = f"v{endpoint.run.version}" if endpoint.run else ""
    if endpoint.state == EndpointState.DEPLOYING and endpoint.intended_run:
        coming = f"v{endpoint.intended_run.version}"
        return f"{served} → {coming}" if served and served != coming else coming
    return served


def _figures(traffic: Traffic | None) -> Values:
    if traffic is None:
        return {}  # Cloud Monitoring was not read
    p95 = "" if traffic.p95 is None else f"{traffic.p95:,.0f} ms"
    requests = "" if traffic.requests.of_known is None else in_words(traffic.requests)
    return {"requests": requests, "latency": p95}


def run_rows(runs: Iterable[TrainingRun], *, caller: Caller, now: datetime) -> list[Values]:
    """Rows for these runs; their schedules and users must be loaded. No statement."""
    return [
        {
            "id": run.pk,
            "model": Link(text=run.model_name, url=model_url(run.registered_model_id)),
            "status": badge(run.get_status_display(), RUN_TONES[run.status]),
            "stage": run.stage if run.status != "completed" else "",
            # Per cent; None if the run has ended.
            "progress": run.progress if run.status in TRAINING_RUN_STATUSES else None,
            "version": f"v{run.version}" if run.version else "",
            "by": run.schedule.name if run.schedule else _creator(run),
            "note": readable(" ".join(filter(None, (run.error, run.remark)))),
            "metric": main_metric(run.metrics),
            "created": moment(run.created_at, now),
            "took": duration(elapsed(run.submitted_at, run.finished_at, now)),
            # When a run that has not ended was submitted: the script updates its duration.
            "since": iso(run.submitted_at)
            if run.status in TRAINING_RUN_STATUSES and not run.finished_at
            else "",
            "acts": run_buttons(caller, run),
            "more": more_of_run(caller, run),
            # The form that schedules this training; without its template it cannot be repeated.
            "schedule": ""
            if CREATE_FROM_RUN.refusal(caller, run)
            else f"{url_of('new_schedule', run.project_id)}?run={run.pk}",
        }
        for run in runs
    ]


def _creator(run: TrainingRun) -> str:
    return run.created_by.get_username() if run.created_by else ""


def schedule_rows(
    schedules: Iterable[TrainingSchedule], *, caller: Caller, now: datetime
) -> list[Values]:
    """Rows for these schedules. No statement."""
    return [
        {
            "id": schedule.pk,
            "name": schedule.name,
            "model": Link(text=schedule.model_name, url=model_url(schedule.registered_model_id)),
            "state": schedule_badge(schedule),
            "rhythm": schedule.get_frequency_display(),
            "cron": f"{schedule.cron} {schedule.time_zone}",
            "times": [moment(time, now) for time in _times(schedule, now)],
            "last": moment(schedule.last_run_at, now),
            "acts": schedule_buttons(caller, schedule, now),
        }
        for schedule in schedules
    ]


def schedule_badge(schedule: TrainingSchedule) -> Badge:
    """The state of a schedule, or how its job differs from it."""
    tone = "bad" if job_finding(schedule) else SCHEDULE_TONES[schedule.state]
    return badge(status_of(schedule), tone)


def _times(schedule: TrainingSchedule, now: datetime) -> list[datetime]:
    """The next times of an active schedule; none if its job is silent, or its row does not allow to
    compute them."""
    if schedule.state != ScheduleState.ACTIVE or is_silent(schedule):
        return []
    try:
        return next_times(
            frequency=schedule.frequency,
            first=schedule.starts_at or schedule.created_at,
            time_zone=schedule.time_zone,
            after=now,
            count=TIMES_SHOWN,
        )
    except Invalid:
        return []
