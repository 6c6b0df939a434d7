"""Makes the values of projects, findings, sweeps and operations from their rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby

from django.urls import reverse

from ml_platform.kpis import WORST_P95, Assets, ProjectCard, Traffic, unread_because
from ml_platform.models import Finding, Operation, Sweep
from ml_platform.models.states import (
    LIVE_OPERATION_STATUSES,
    FindingStatus,
    OperationStatus,
    SweepStatus,
)
from ml_platform.services.findings.kinds import FindingKind, facts_of
from ml_platform.services.operations.workflow import workflow_of
from ml_platform.text import counted

from .badges import (
    FINDING_STATUS_TONES,
    OPERATION_TONES,
    PLANE_NAMES,
    SWEEP_TONES,
    badge,
)
from .charts import spark, spark_days
from .context import Badge, Card, Figure, FindingGroup, FindingRow, OperationRow, SweepRow
from .fact_list import facts, readable
from .times import clock, duration, elapsed, iso, moment


def asset_figures(assets: Assets) -> tuple[Figure, ...]:
    """The figures of the Assets card."""
    return (
        Figure(name="Models", value=f"{assets.models:,}"),
        Figure(name="Versions", value=f"{assets.versions:,}"),
        _deployed(assets.deployed, assets.models),
        _endpoints(assets.endpoints_active, assets.endpoints_total),
        Figure(
            name="Runs",
            value=f"{assets.runs:,}",
            note=f"{assets.runs_live or 'none'} under way",
        ),
        Figure(name="Schedules", value=f"{assets.schedules_live:,}", note="live"),
    )


def _endpoints(active: int, total: int) -> Figure:
    return Figure(
        name="Endpoints", value=f"{active:,}", note=f"of {total:,} active" if total else "none yet"
    )


def _deployed(deployed: int, models: int) -> Figure:
    note = f"of {models:,}" if models else "nothing to deploy yet"
    return Figure(name="Deployed", value=f"{deployed:,}", note=note)


def project_card(card: ProjectCard, traffic: Traffic | None, now: datetime) -> Card:
    """A project's card; without traffic if Cloud Monitoring was not read."""
    return Card(
        name=card.name,
        url=reverse("ml_platform:training", args=[card.project_id]),
        figures=(
            Figure(name="Models", value=f"{card.models:,}", note=counted(card.versions, "version")),
            _deployed(card.deployed, card.models),
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
    note = " · ".join(filter(None, notes))
    return Figure(name="Requests, 7 days", value=f"{traffic.requests:,}", note=note, hint=WORST_P95)


def _change(now: int, before: int) -> str:
    if not before:
        return ""
    share = round(100 * (now - before) / before)
    sign = "+" if share > 0 else "−" if share < 0 else "±"  # noqa: RUF001
    return f"{sign}{abs(share)} %"


def finding_row(finding: Finding, now: datetime) -> FindingRow:
    """A finding; its project and operation must be loaded."""
    kind = facts_of(finding)
    status = FindingStatus(finding.status)
    ignored = ""
    if status == FindingStatus.IGNORED:
        ignored = f"{finding.ignored_by}: {finding.ignored_reason}"
    return FindingRow(
        id=finding.pk,
        title=finding.title,
        kind=badge(kind.label, kind.tone),
        project=str(finding.project) if finding.project else "",
        evidence=facts(finding.evidence, now),
        repair=finding.repair,
        looks=finding.consecutive_sightings,
        first_seen=moment(finding.first_seen_at, now),
        last_seen=moment(finding.last_seen_at, now),
        ended=moment(finding.ended_at, now),
        status=badge(str(status.label), FINDING_STATUS_TONES[status]),
        ignored=ignored,
        operation=str(finding.operation_id or ""),
    )


def finding_groups(rows: Iterable[Finding], now: datetime) -> tuple[FindingGroup, ...]:
    """Findings by kind; the rows must be sorted by kind."""
    return tuple(
        FindingGroup(
            kind=FindingKind(kind).facts.label,
            meaning=FindingKind(kind).facts.meaning,
            rows=tuple(finding_row(finding, now) for finding in found),
        )
        for kind, found in groupby(rows, key=lambda finding: finding.kind)
    )


def sweep_row(sweep: Sweep, now: datetime, *, named: bool) -> SweepRow:
    """A sweep that was read `with_state`; `named` shows who started it."""
    state = SweepStatus(sweep.state)  # type: ignore[attr-defined]
    return SweepRow(
        id=sweep.pk,
        status=badge(str(state.label), SWEEP_TONES[state]),
        actor=sweep.actor_label if named else "",
        started=moment(sweep.started_at, now),
        took=duration(elapsed(sweep.started_at, sweep.finished_at, now))
        if sweep.finished_at
        else "",
        planes=tuple(
            _plane_badge(sweep, plane)
            for plane in (() if state == SweepStatus.RUNNING else PLANE_NAMES)
        ),
    )


def _plane_badge(sweep: Sweep, plane: str) -> Badge:
    """Whether a plane was read, and whether all of it could be stored.

    Rows that could not be stored are only counted: not every user may see their names.
    """
    reason = unread_because(sweep.planes, plane)
    if reason:
        return badge(PLANE_NAMES[plane], "unknown", reason)
    held = sweep.planes[plane].get("held", 0)
    hint = f"{counted(held, 'row')} could not be stored." if held else ""
    return badge(PLANE_NAMES[plane], "warn" if held else "good", hint)


def operation_row(operation: Operation, now: datetime) -> OperationRow:
    """An operation; its project must be loaded."""
    live = operation.status in LIVE_OPERATION_STATUSES
    length = elapsed(operation.started_at, operation.finished_at, now)
    workflow = workflow_of(operation)
    verb, _, after = workflow.clause(operation).partition("{}")
    done, steps = workflow.progress(operation)
    return OperationRow(
        id=str(operation.pk),
        actor=operation.actor_label,
        verb=verb.strip(),
        subject=operation.subject_name,
        after=after.strip(),
        project=str(operation.project) if operation.project else "",
        note=_newest_note(operation),
        status=_operation_badge(operation),
        live=live,
        created=moment(operation.created_at, now),
        took=duration(length),
        clock=clock(length) if live else "",
        since=iso(operation.started_at) if live else "",
        done=done if live else 0,
        steps=steps,
    )


def _operation_badge(operation: Operation) -> Badge:
    if operation.was_refused:
        return badge("Refused", "quiet")
    return badge(operation.get_status_display(), OPERATION_TONES[operation.status])


def _newest_note(operation: Operation) -> str:
    """Its error, else the running step, else the newest note."""
    if operation.error:
        refused = "Refused: " if operation.was_refused else ""
        return f"{refused}{readable(operation.error)}"
    if operation.status == OperationStatus.RUNNING:
        ahead = workflow_of(operation).planned(operation)
        return ahead[0].title if ahead else ""
    newest = operation.steps[-1] if operation.steps else {}
    # An operation of one transaction has its text as the title of its only step.
    return str(newest.get("note") or (newest.get("title") if newest.get("step") == "done" else ""))


def operation_rows(rows: Iterable[Operation], now: datetime) -> tuple[OperationRow, ...]:
    """The operations of a list."""
    return tuple(operation_row(row, now) for row in rows)
