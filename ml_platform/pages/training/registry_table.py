"""The Model Registry table: its filters, its order and its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import HttpRequest

from ml_platform import kpis
from ml_platform.actions.caller import Caller
from ml_platform.actions.endpoints import Known
from ml_platform.models import DeployedEndpoint, RegisteredModel, TrainingRun, TrainingSchedule
from ml_platform.models.endpoints.serving_status import serving_status, with_serves_newest
from ml_platform.models.prepared import Prepared
from ml_platform.models.states import LIVE_SCHEDULE_STATES, Approval, RegistryState, ScheduleState
from ml_platform.pages.common.buttons import deploy_button
from ml_platform.pages.common.queries import Listed, cursor_page
from ml_platform.pages.view_models.addresses import url_of
from ml_platform.pages.view_models.badges import SERVING_TONES, badge
from ml_platform.pages.view_models.context import Badge, Link, Values
from ml_platform.pages.view_models.metrics import common_name, main_metric
from ml_platform.pages.view_models.times import moment, relative
from ml_platform.services.deployment.deployable import choose_endpoint, with_differences
from ml_platform.services.operations.locks import Locks
from ml_platform.services.registry.model_list import model_filter
from ml_platform.services.registry.registry_state import RegistryVerdict, verdict_of
from ml_platform.services.scheduling.ringing import job_finding, status_of, with_job_finding

from .forms import ModelFilterForm

MODELS_A_PAGE = 25
MODELS = Listed(RegisteredModel, kpis.registry_page_models)


def registry_table(
    request: HttpRequest,
    *,
    project: Any,
    caller: Caller,
    locks: Locks,
    now: datetime,
) -> Values:
    """The page of the table that the query string asks for; five statements.

    A filter with an unknown value is not applied; the form says so at its field.
    """
    reading = kpis.vertex_reading()
    form = ModelFilterForm(request.GET, auto_id=False)
    filters = form.filters()
    place = {"order": form.order(), "size": MODELS_A_PAGE, "name": "models"}
    if any(filters.values()):
        chosen = model_filter(**filters, unread=reading.unread, fresh_since=reading.fresh_since)
        rows = kpis.registry_page_models([project.pk]).filter(chosen)
        shown, pager = cursor_page(rows, request, **place)
    else:
        shown, pager = MODELS.page(request, projects=[project.pk], **place)
    known = Known.of(reading, locks)
    table = _rows(shown, caller, known, now)
    return {
        "form": form,
        "narrowed": any(filters.values()),
        "rows": table,
        "pager": pager,
        # Why the newest sweep did not read Vertex AI, '' when it did.
        "unread": reading.unread,
        "known": known,
        "swept": moment(reading.swept_at, now),
        # When Vertex AI was last read; a sweep that failed to read it does not count.
        "read": moment(reading.read_at, now),
        # The name of the metric if all rows have the same.
        "metric": common_name(row["metric"] for row in table),
        "by_name": _sorting(form, "name", "name-desc"),
        "by_age": _sorting(form, "newest", "oldest"),
    }


def _sorting(form: ModelFilterForm, first: str, second: str) -> Values:
    """The head of a column that these two orders sort; its link leads to the other one."""
    order = form.order()
    query = {name: value for name, value in form.cleaned_data.items() if value}
    query["sort"] = second if order.name == first else first
    direction = "descending" if order.descending else "ascending"
    return {
        "url": f"?{urlencode(query)}#models",
        "direction": direction if order.name in (first, second) else "",
    }


def _rows(
    models: Sequence[RegisteredModel], caller: Caller, known: Known, now: datetime
) -> list[Values]:
    shown = [model.pk for model in models]
    endpoints, schedules = _by_lineage(_serving(models=shown)), _by_lineage(_live(models=shown))
    return [
        _row(model, endpoints.get(model.pk, []), schedules.get(model.pk, []), caller, known, now)
        for model in models
    ]


@Prepared
def _serving(*, models: Any) -> QuerySet[DeployedEndpoint]:
    rows = DeployedEndpoint.objects.filter(registered_model__in=models).select_related("run")
    return with_serves_newest(with_differences(rows)).order_by("pk")


@Prepared
def _live(*, models: Any) -> QuerySet[TrainingSchedule]:
    rows = TrainingSchedule.objects.filter(state__in=LIVE_SCHEDULE_STATES)
    return with_job_finding(rows.filter(registered_model__in=models)).order_by("pk")


def _by_lineage(rows: Iterable[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row.registered_model_id, []).append(row)
    return found


def _row(
    model: RegisteredModel,
    endpoints: list[DeployedEndpoint],
    schedules: list[TrainingSchedule],
    caller: Caller,
    known: Known,
    now: datetime,
) -> Values:
    run = model.latest_run
    if run is None:
        raise ValueError(f"{model} is listed as registered and has no version")
    verdict = verdict_of(model, known.unread, known.fresh_since)
    newest, total = run.version or 0, model.total_versions
    return {
        "id": model.pk,
        "link": Link(text=model.model_name, url=model_url(model.pk)),
        "latest": f"v{run.version}",
        # Numbers are never reused: after a deletion the newest may be higher than the count.
        "versions": f"of {total:,}" if newest == total else f"{total:,} registered",
        # Whether there are older versions, which can be deployed from the model's page.
        "others": total > 1,
        "type": model.get_model_type_display(),
        "registry": registry_badge(verdict, now),
        "checked": moment(verdict.at, now),
        "blessed": blessed_badge(run),
        "metric": main_metric(run.metrics),
        "serving": _serving_badge(endpoints),
        "services": tuple(_service(endpoint, run) for endpoint in endpoints if endpoint.is_active),
        "schedules": ", ".join(_rhythm(schedule) for schedule in schedules),
        "registered": moment(model.latest_registered_at, now),
        "deploy": deploy_button(caller, known.deploy(model, run, choose_endpoint(endpoints)), run),
    }


def model_url(model_id: int | None) -> str:
    """The page of a model; '' for what was never registered and so has none."""
    return url_of("model", model_id) if model_id else ""


def registry_badge(verdict: RegistryVerdict, now: datetime) -> Badge:
    """Verified, Not in Registry, changed or Unknown; the hint has the reason."""
    if verdict.foreign:
        return badge(RegistryState.FOREIGN.label, "warn", verdict.reason)
    if verdict.verified is None:
        last = f" Last checked {relative(now - verdict.at)}." if verdict.at else ""
        return badge("Unknown", "unknown", f"{verdict.reason}{last}")
    if verdict.verified:
        return badge("Verified", "good", "The sweep saw it in the Vertex AI Model Registry.")
    if verdict.changed:
        return badge(RegistryState.CHANGED.label, "bad", verdict.reason)
    return badge(
        RegistryState.MISSING.label,
        "bad",
        "Two sweeps found that Vertex AI has no such model.",
        "registry-missing",
    )


def blessed_badge(run: TrainingRun) -> Badge:
    """A person's decision, else the judgement of the evaluator; unknown until there is one."""
    if run.approval:
        tone = "good" if run.approval == Approval.APPROVED else "bad"
        said = f"{run.get_approval_display()} by {run.approval_by}: {run.approval_reason}"
        return badge(run.get_approval_display(), tone, said)
    if run.is_blessed is None:
        return badge("Unknown", "unknown", "Its evaluator has not judged it.")
    return badge("Blessed", "good") if run.is_blessed else badge("Not blessed", "warn")


def _serving_badge(endpoints: list[Any]) -> Badge:
    changing = next((e for e in endpoints if e.state in ("deploying", "undeploying")), None)
    if changing is not None:
        return badge(changing.get_state_display(), "busy", changing.service_name)
    status = serving_status([e.serves_newest for e in endpoints if e.is_active])
    return badge(status.label, SERVING_TONES[status])


def _service(endpoint: DeployedEndpoint, latest: TrainingRun) -> Link:
    behind = endpoint.run is not None and endpoint.run_id != latest.pk
    text = f"{endpoint.service_name} (v{endpoint.run.version})" if behind and endpoint.run else ""
    return Link(text=text or endpoint.service_name, url=f"#endpoint-{endpoint.pk}")


def _rhythm(schedule: TrainingSchedule) -> str:
    """`daily 04:00`: how often, and the time of day if the schedule has only one."""
    active = schedule.state == ScheduleState.ACTIVE and not job_finding(schedule)
    status = status_of(schedule)
    remark = "" if active else f" ({status[0].lower()}{status[1:]})"
    minute, _, rest = schedule.cron.partition(" ")
    hour = rest.partition(" ")[0]
    at = f" {hour:>02}:{minute:>02}" if hour.isdecimal() and minute.isdecimal() else ""
    return f"{schedule.get_frequency_display().lower()}{at}{remark}"
