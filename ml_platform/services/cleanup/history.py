"""Pruning: what the history keeps no longer. Evidence and what is still needed stays."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.core.management import call_command
from django.db.models import Exists, OuterRef, Q, QuerySet

from ml_platform.conf import HISTORY_DAYS_LEAST, get_settings
from ml_platform.errors import Invalid
from ml_platform.models import (
    AwaitingRemoval,
    Event,
    Finding,
    IdempotentResponse,
    Operation,
    Sweep,
)
from ml_platform.models.locking import delete_rows
from ml_platform.models.states import (
    LIVE_OPERATION_STATUSES,
    STANDING_FINDING_STATUSES,
    OperationKind,
)

STORED_FOR = timedelta(days=7)
"""How long the answer to a request with an Idempotency-Key is kept."""
SWEEP_DAYS = 90
"""Sweeps are needed for the charts of the last 90 days, and there is one each hour."""
TASKS = "django_tasks_db"
_NO_EVIDENCE = (
    OperationKind.CANCEL,
    OperationKind.DELETE,
    OperationKind.REPAIR,
    OperationKind.CLEANUP,
    OperationKind.ALIAS,
    OperationKind.TAG,
    OperationKind.IGNORE,
    OperationKind.UNIGNORE,
    OperationKind.PROJECT,
    OperationKind.METRICS,
    OperationKind.SWEEP,
)
"""The others say later that a run was submitted or registered already, which service or job is
ours, and who approved a version."""


def prune_history(
    *, now: datetime, days: int | None = None, dry_run: bool = False
) -> dict[str, int]:
    """Delete what is older than `days` (HISTORY_DAYS); returns how many rows of each kind.

    Sweeps go after 90 days at most, answers to idempotent requests after a week, and results of
    finished tasks with the rest, where django-tasks-db keeps them.

    :raises Invalid: `days` is less than charts and numbers look back.
    """
    days = days or get_settings().HISTORY_DAYS
    if days < HISTORY_DAYS_LEAST:
        raise Invalid(
            f"The history of {days} days would be too short.",
            advice=f"Charts and numbers show the last 90 days: keep {HISTORY_DAYS_LEAST} or more.",
        )
    old = _old(now - timedelta(days=days), now - timedelta(days=min(days, SWEEP_DAYS)))
    old["answers"] = old_answers(now)
    pruned = {name: rows.count() if dry_run else delete_rows(rows) for name, rows in old.items()}
    if apps.is_installed(TASKS) and not dry_run:
        call_command("prune_db_task_results", queue_name="*", min_age_days=days, verbosity=0)
    return pruned


def old_answers(now: datetime) -> QuerySet[IdempotentResponse]:
    """The answers to idempotent requests that are kept no longer."""
    return IdempotentResponse.objects.filter(created_at__lt=now - STORED_FOR)


def _old(before: datetime, swept_before: datetime) -> dict[str, QuerySet[Any]]:
    waiting = AwaitingRemoval.objects.filter(operation=OuterRef("pk"))
    findings = Finding.objects.filter(last_seen_at__lt=before)
    return {
        "events": Event.objects.filter(at__lt=before, sent=True),
        "findings": findings.exclude(status__in=STANDING_FINDING_STATUSES),
        "operations": Operation.objects.filter(
            ~Exists(waiting),
            ~Q(status__in=LIVE_OPERATION_STATUSES),
            finished_at__lt=before,
            kind__in=_NO_EVIDENCE,
            service_key="",
        ),
        "sweeps": _needless_sweeps(swept_before),
    }


def _needless_sweeps(before: datetime) -> QuerySet[Sweep]:
    """Neither the newest, nor one whose reading of a plane is still the newest there is."""
    fields: Any = Sweep._meta.get_fields(include_hidden=True)  # noqa: SLF001 - Django's documented name
    mirrors = (
        row.related_model
        for row in fields
        if row.auto_created and row.is_relation and row.remote_field.name == "seen_sweep"
    )
    seen = (Exists(table.objects.filter(seen_sweep=OuterRef("pk"))) for table in mirrors)
    read = Sweep.objects.finished().filter(planes__vertex__read=True)
    kept = [row.pk for row in (Sweep.objects.finished().first(), read.first()) if row]
    rows = Sweep.objects.filter(finished_at__lt=before).exclude(pk__in=kept)
    return rows.filter(*(~one for one in seen))
