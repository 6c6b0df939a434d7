"""Makes the values of projects, findings, sweeps and operations from their rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby

from ml_platform.kpis import (
    WORST_P95,
    Assets,
    DriftTimes,
    ProjectCard,
    Sum,
    Times,
    Traffic,
    unread_because,
)
from ml_platform.models import Finding, Operation, Sweep
from ml_platform.models.states import (
    LIVE_OPERATION_STATUSES,
    FindingStatus,
    OperationStatus,
    SweepStatus,
)
from ml_platform.pages.view_models.context import Values
from ml_platform.services.findings.kinds import facts_of, kind_of
from ml_platform.services.findings.store import ignored_until
from ml_platform.services.operations.liveness import why_waiting
from ml_platform.services.operations.workflow import workflow_of
from ml_platform.text import counted

from .addresses import url_of
from .badges import (
    FINDING_STATUS_TONES,
    OPERATION_TONES,
    PLANE_NAMES,
    SWEEP_TONES,
    badge,
)
from .charts import spark, spark_days
from .context import Badge, Figure
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


def project_card(card: ProjectCard, traffic: Traffic | None, now: datetime) -> Values:
    """A project's card; without traffic if Cloud Monitoring was not read."""
    return {
        "name": card.name,
        "url": url_of("training", card.project_id),
        "figures": (
            Figure(name="Models", value=f"{card.models:,}", note=counted(card.versions, "version")),
            _deployed(card.deployed, card.models),
            _endpoints(card.endpoints_active, card.endpoints_total),
            _requests(traffic),
        ),
        "registered": moment(card.latest_registered_at, now),
        **(_spark(traffic, now.date()) if traffic else {}),
    }


def _spark(traffic: Traffic, today: date) -> Values:
    """The line of requests per day."""
    days = traffic.days
    return {
        "spark": spark(days),
        "spark_label": f"Requests a day over {len(days)} days, {in_words(traffic.requests)} in "
        f"the last seven, {in_words(traffic.before)} in the seven before.",
        "spark_note": _spread(days),
        "spark_days": spark_days(days, today),
    }


def _spread(days: Sequence[int | None]) -> str:
    known = [value for value in days if value is not None]
    read = f"{len(days)} days" if len(known) == len(days) else f"{len(known)} of {len(days)} days"
    return f"{read}, {min(known):,} to {max(known):,} a day" if known else f"{read} read"


def in_words(requests: Sum) -> str:
    """The sum, and of which days where some are not known."""
    if requests.of_known is None:
        return "an unknown number"
    told = f"{requests.of_known:,}"
    if requests.total is not None:
        return told
    return f"{told} ({requests.known} of {requests.days} days)"


def _requests(traffic: Traffic | None) -> Figure:
    if traffic is None or traffic.requests.of_known is None:
        return Figure(name="Requests, 7 days", value="–", note="not read")  # noqa: RUF001
    requests = traffic.requests
    partly = "" if requests.total is not None else f"{requests.known} of {requests.days} days read"
    notes = [partly or _change(requests.total, traffic.before.total)]
    notes += [] if traffic.p95 is None else [f"p95 {traffic.p95:,.0f} ms"]
    note = " · ".join(filter(None, notes))
    return Figure(
        name="Requests, 7 days", value=f"{requests.of_known:,}", note=note, hint=WORST_P95
    )


def _change(now: int | None, before: int | None) -> str:
    """How much more it is, in per cent; '' if one is unknown, or nothing was before."""
    if now is None or not before:
        return ""
    share = round(100 * (now - before) / before)
    sign = "+" if share > 0 else "−" if share < 0 else "±"  # noqa: RUF001
    return f"{sign}{abs(share)} %"


def drift_figures(times: DriftTimes) -> tuple[Figure, ...]:
    """How long findings took to be seen, and to be repaired."""
    hint = f"Of the last {times.days} days. Half took at most p50, nineteen of twenty at most p95."
    return tuple(
        Figure(
            name=f"{name}, {share}",
            value=duration(None if seconds is None else timedelta(seconds=seconds)) or "unknown",
            note=_of_how_many(of),
            hint=hint,
        )
        for name, of in (("Time to detect", times.detect), ("Time to repair", times.repair))
        for share, seconds in (("p50", of.p50), ("p95", of.p95))
    )


def _of_how_many(times: Times) -> str:
    told = [counted(times.known, "finding")]
    told += [f"{times.at_most} at most"] if times.at_most else []
    told += [f"{times.unknown} unknown"] if times.unknown else []
    return " · ".join(told)


def finding_row(finding: Finding, now: datetime) -> Values:
    """A finding; its project and operation must be loaded."""
    kind = facts_of(finding)
    status = FindingStatus(finding.status)
    was = status == FindingStatus.OPEN and finding.ignored_by
    return {
        "id": finding.pk,
        "title": finding.title,
        "kind": badge(kind.label, kind.tone),
        "project": str(finding.project) if finding.project else "",
        "evidence": facts(finding.evidence, now),
        "repair": finding.repair,
        "looks": finding.consecutive_sightings,
        "first_seen": moment(finding.first_seen_at, now),
        "ended": moment(finding.ended_at, now),
        "status": badge(str(status.label), FINDING_STATUS_TONES[status]),
        "began": moment(finding.began_at, now),
        "began_word": "began" if finding.began_told else "began after",
        "ignored": _ignored(finding) if was or status == FindingStatus.IGNORED else "",
        "ignored_word": "Was ignored" if was else "Ignored",
        "repaired": status == FindingStatus.REPAIRED,
        "operation": str(finding.operation_id or ""),
    }


def _ignored(finding: Finding) -> str:
    until = ignored_until(finding)
    words = f" until {until.day} {until:%B %Y}" if until else ""
    return f"by {finding.ignored_by}{words}: {finding.ignored_reason}"


def finding_groups(rows: Iterable[Finding], now: datetime) -> tuple[Values, ...]:
    """Findings by kind; the rows must be sorted by kind."""
    return tuple(
        {
            "kind": kind_of(kind).facts.label,
            "meaning": kind_of(kind).facts.meaning,
            "rows": tuple(finding_row(finding, now) for finding in found),
        }
        for kind, found in groupby(rows, key=lambda finding: finding.kind)
    )


def sweep_row(sweep: Sweep, now: datetime, *, named: bool) -> Values:
    """A sweep that was read `with_state`; `named` shows who started it."""
    state = SweepStatus(sweep.state)  # type: ignore[attr-defined]
    return {
        "id": sweep.pk,
        "status": badge(str(state.label), SWEEP_TONES[state]),
        "actor": sweep.actor_label if named else "",
        "started": moment(sweep.started_at, now),
        "took": duration(elapsed(sweep.started_at, sweep.finished_at, now))
        if sweep.finished_at
        else "",
        "planes": tuple(
            _plane_badge(sweep, plane)
            for plane in (() if state == SweepStatus.RUNNING else PLANE_NAMES)
        ),
    }


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


def operation_row(operation: Operation, now: datetime, *, waiting: str = "") -> Values:
    """An operation; its project must be loaded. `waiting` is why nobody works on it."""
    live = operation.status in LIVE_OPERATION_STATUSES
    length = elapsed(operation.started_at, operation.finished_at, now)
    workflow = workflow_of(operation)
    verb, _, after = workflow.clause(operation).partition("{}")
    done, steps = workflow.progress(operation)
    return {
        "id": str(operation.pk),
        "actor": operation.actor_label,
        "verb": verb.strip(),
        "subject": operation.subject_name,
        "after": after.strip(),
        "project": str(operation.project) if operation.project else "",
        "note": waiting or _newest_note(operation),
        "status": _status(operation, waiting),
        "live": live,
        "created": moment(operation.created_at, now),
        "took": duration(length),
        # How long a live one has run, as `m:ss`.
        "clock": clock(length) if live and not waiting else "",
        # When a live one started: the script updates its duration.
        "since": iso(operation.started_at) if live and not waiting else "",
        "done": done if live else 0,
        "steps": steps,
    }


def _status(operation: Operation, waiting: str) -> Badge:
    if waiting:
        return badge("Waiting", "warn")
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


def operation_rows(rows: Iterable[Operation], now: datetime) -> list[Values]:
    """The operations of a list."""
    shown = list(rows)
    waiting = why_waiting(shown, clock=lambda: now)
    return [operation_row(row, now, waiting=waiting.get(row.pk, "")) for row in shown]
