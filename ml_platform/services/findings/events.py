"""The events of findings: opened, ended, or reopened by a sweep."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import CharField, F, JSONField, QuerySet, Value
from django.db.models.functions import Cast, JSONObject

from ml_platform.models import Finding, Operation, Sweep
from ml_platform.models.states import EventKind, FindingStatus
from ml_platform.services.events import outbox
from ml_platform.services.operations.work import event_of

from .decisions import ignored_until


def record_opened(findings: QuerySet[Finding], *, sweep: Sweep) -> None:
    """Record in one statement that a sweep opened these findings."""
    outbox.record_selected(EventKind.FINDING_OPENED, findings, _opened_columns(sweep))


def _opened_columns(sweep: Sweep) -> dict[str, Any]:
    return {
        "project_id": F("project_id"),
        "subject_type": Value("finding"),
        "subject_id": Cast("pk", CharField()),
        "subject_name": F("title"),
        "lineage_id": F("registered_model_id"),
        "actor_label": Value(sweep.actor_label),
        "origin": Value("sweep"),
        "before": Cast(Value("{}"), JSONField()),
        "after": JSONObject(status=Value(FindingStatus.OPEN.value), kind=F("kind")),
    }


def record_events(
    kind: EventKind,
    findings: Iterable[Finding],
    *,
    after: FindingStatus,
    by: Sweep | Operation | None,
) -> None:
    """Record one event for each finding, in the caller's transaction, before its row changes."""
    operation = by if isinstance(by, Operation) else None
    actor = {"actor_label": by.actor_label, "origin": "sweep"} if isinstance(by, Sweep) else {}
    opened = kind == EventKind.FINDING_OPENED
    expired = kind == EventKind.FINDING_REOPENED
    outbox.record(
        event_of(
            kind,
            operation,
            before={} if opened else {"status": finding.status},
            after={"status": after, "kind": finding.kind} | (_expiry(finding) if expired else {}),
            project_id=finding.project_id,
            subject_type="finding",
            subject_id=str(finding.pk),
            subject_name=finding.title,
            lineage_id=finding.registered_model_id,
            **actor,
        )
        for finding in findings
    )


def _expiry(finding: Finding) -> dict[str, str]:
    until = ignored_until(finding)
    return {
        "ignored_by": finding.ignored_by,
        "ignored_until": until.isoformat(timespec="seconds") if until else "",
    }
