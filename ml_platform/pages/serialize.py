"""From rows to the frozen values that templates get; the only place that reads a row's fields."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.urls import reverse

from ml_platform.kpis import Assets, ProjectCard, Traffic, unread_because
from ml_platform.models import Finding, Operation, Sweep
from ml_platform.models.states import LIVE_OPERATION_STATUSES, FindingKind, FindingStatus
from ml_platform.services.worker import recipes

from .charts import spark, spark_days
from .context import (
    Card,
    Fact,
    Figure,
    FindingGroup,
    FindingRow,
    OperationDetail,
    OperationRow,
    StepRow,
    SweepRow,
)
from .times import duration, moment
from .words import (
    FINDING_MEANINGS,
    FINDING_STATUS_TONES,
    FINDING_TONES,
    OPERATION_TONES,
    PLANE_NAMES,
    STEP_BADGES,
    SWEEP_TONES,
    badge,
    clause,
    counted,
)


def asset_figures(assets: Assets) -> tuple[Figure, ...]:
    """The figures of the Assets card."""
    return (
        Figure(name="Models", value=f"{assets.models:,}"),
        Figure(name="Versions", value=f"{assets.versions:,}"),
        Figure(name="Deployed", value=f"{assets.deployed:,}", note=f"of {assets.models:,}"),
        _endpoints(assets.endpoints_active, assets.endpoints_total),
        Figure(
            name="Runs",
            value=f"{assets.runs:,}",
            note=f"{assets.runs_live:,} running" if assets.runs_live else "none running",
        ),
        Figure(name="Schedules", value=f"{assets.schedules_live:,}", note="live"),
    )


def _endpoints(active: int, total: int) -> Figure:
    return Figure(name="Endpoints", value=f"{active:,}", note=f"of {total:,} active")


def project_card(card: ProjectCard, traffic: Traffic | None, now: datetime) -> Card:
    """A project's card; without traffic where Cloud Monitoring was not read."""
    return Card(
        name=card.name,
        url=reverse("ml_platform:training", args=[card.project_id]),
        figures=(
            Figure(name="Models", value=f"{card.models:,}", note=counted(card.versions, "version")),
            Figure(name="Deployed", value=f"{card.deployed:,}", note=f"of {card.models:,}"),
            _endpoints(card.endpoints_active, card.endpoints_total),
            _requests(traffic),
        ),
        registered=moment(card.latest_registered_at, now),
        runs_live=card.runs_live,
        spark=spark(traffic.days) if traffic else "",
        spark_label=f"Requests a day over {len(traffic.days)} days, {traffic.requests:,} in the "
        f"last seven, {traffic.before:,} in the seven before."
        if traffic
        else "",
        spark_note=f"{len(traffic.days)} days, {min(traffic.days):,} to {max(traffic.days):,} a day"
        if traffic
        else "",
        spark_days=spark_days(traffic.days, now.date()) if traffic else (),
    )


def _requests(traffic: Traffic | None) -> Figure:
    if traffic is None:
        return Figure(name="Requests, 7 days", value="–", note="not read")  # noqa: RUF001
    notes = [_change(traffic.requests, traffic.before)]
    notes += [] if traffic.p95 is None else [f"p95 {traffic.p95:,.0f} ms"]
    told = " · ".join(note for note in notes if note)
    return Figure(name="Requests, 7 days", value=f"{traffic.requests:,}", note=told)


def _change(now: int, before: int) -> str:
    if not before:
        return ""
    share = round(100 * (now - before) / before)
    sign = "+" if share > 0 else "−" if share < 0 else "±"  # noqa: RUF001
    return f"{sign}{abs(share)} %"


def finding_row(finding: Finding, now: datetime) -> FindingRow:
    """A finding; its project and operation must be loaded."""
    kind = FindingKind(finding.kind)
    status = FindingStatus(finding.status)
    ignored = ""
    if status == FindingStatus.IGNORED:
        ignored = f"{finding.ignored_by}: {finding.ignored_reason}"
    return FindingRow(
        id=finding.pk,
        title=finding.title,
        kind=badge(str(kind.label), FINDING_TONES[kind]),
        project=str(finding.project) if finding.project else "",
        evidence=facts(finding.evidence),
        repair=finding.repair,
        looks=finding.looks,
        first_seen=moment(finding.first_seen_at, now),
        last_seen=moment(finding.last_seen_at, now),
        ended=moment(finding.ended_at, now),
        status=badge(str(status.label), FINDING_STATUS_TONES[status]),
        ignored=ignored,
        operation=str(finding.operation_id or ""),
    )


def finding_groups(rows: Iterable[Finding], now: datetime) -> tuple[FindingGroup, ...]:
    """Findings by kind; they must come in the order of their kinds."""
    return tuple(
        FindingGroup(
            kind=str(FindingKind(kind).label),
            meaning=FINDING_MEANINGS[kind],
            rows=tuple(finding_row(finding, now) for finding in found),
        )
        for kind, found in groupby(rows, key=lambda finding: finding.kind)
    )


def facts(values: Mapping[str, Any]) -> tuple[Fact, ...]:
    """What a JSON object says, one line for each of its keys."""
    return tuple(
        Fact(name=key.replace("_", " ").capitalize(), value=_plain(value), code=_is_code(value))
        for key, value in values.items()
    )


def _plain(value: Any) -> str:
    if value is None or value == "":
        return "–"  # noqa: RUF001
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ", ".join(str(item) for item in value) or "none"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value)


def _is_code(value: Any) -> bool:
    """Ids and paths have no spaces and hold a digit or a slash; words do not."""
    text = str(value)
    return len(text) > 7 and " " not in text and any(c.isdigit() or c == "/" for c in text)


def sweep_row(sweep: Sweep, now: datetime) -> SweepRow:
    """A sweep in one line."""
    ended = sweep.finished_at is not None
    return SweepRow(
        id=sweep.pk,
        status=badge(sweep.get_status_display(), SWEEP_TONES[sweep.status]),
        actor=sweep.actor_label,
        started=moment(sweep.started_at, now),
        took=duration(sweep.finished_at - sweep.started_at) if sweep.finished_at else "",
        planes=tuple(
            badge(name, "unknown" if reason else "good", reason)
            for plane, name in PLANE_NAMES.items()
            if ended
            for reason in [unread_because(sweep.planes, plane)]
        ),
    )


def operation_row(operation: Operation, now: datetime) -> OperationRow:
    """An operation in one line; its project must be loaded."""
    live = operation.status in LIVE_OPERATION_STATUSES
    recipe = recipes().get(operation.kind)
    names = [step.name for step in recipe.steps] if recipe else []
    return OperationRow(
        id=str(operation.pk),
        actor=operation.actor_label,
        verb=clause(operation.kind, operation.status),
        subject=operation.subject_name,
        project=str(operation.project) if operation.project else "",
        note=_newest_note(operation),
        status=badge(operation.get_status_display(), OPERATION_TONES[operation.status]),
        live=live,
        created=moment(operation.created_at, now),
        took=duration(_length(operation, now)),
        since=operation.started_at.isoformat(timespec="seconds")
        if live and operation.started_at
        else "",
        done=names.index(operation.step) if live and operation.step in names else 0,
        steps=len(names),
    )


def _length(operation: Operation, now: datetime) -> timedelta | None:
    if operation.started_at is None:
        return None
    return (operation.finished_at or now) - operation.started_at


def _newest_note(operation: Operation) -> str:
    """What the newest step said; a failure's own words come first."""
    if operation.error:
        return operation.error
    if not operation.steps:
        return ""
    newest = operation.steps[-1]
    return str(newest.get("note") or newest.get("title") or "")


def operation_detail(operation: Operation, now: datetime) -> OperationDetail:
    """All that an operation's row tells; its project must be loaded."""
    named = {
        "project": str(operation.project) if operation.project else None,
        "subject": f"{operation.subject_type} {operation.subject_id}".strip(),
        "asked through": operation.origin,
        "reason": operation.reason,
        "operation": str(operation.pk),
        "idempotency key": operation.idempotency_key,
        "at Google": operation.remote_operation,
        "tries of this step": operation.attempts or None,
    }
    return OperationDetail(
        row=operation_row(operation, now),
        kind=operation.get_kind_display(),
        facts=facts({name: value for name, value in named.items() if value}),
        steps=tuple(_step(entry, now) for entry in operation.steps),
        error=operation.error,
        error_code=operation.error_code,
        advice=operation.advice,
        started=moment(operation.started_at, now),
        finished=moment(operation.finished_at, now),
        model_url=reverse("ml_platform:model", args=[operation.lineage_id])
        if operation.lineage_id
        else "",
    )


def _step(entry: Mapping[str, Any], now: datetime) -> StepRow:
    label, tone = STEP_BADGES.get(entry.get("status", ""), ("Not begun", "quiet"))
    started, finished = _time(entry, "started_at"), _time(entry, "finished_at")
    return StepRow(
        title=str(entry.get("title") or entry.get("step") or ""),
        note=str(entry.get("note") or ""),
        status=badge(label, tone),
        started=moment(started or finished, now),
        took=duration(finished - started) if started and finished and finished > started else "",
    )


def _time(entry: Mapping[str, Any], key: str) -> datetime | None:
    return datetime.fromisoformat(entry[key]) if entry.get(key) else None
