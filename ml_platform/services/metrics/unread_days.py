"""Which days of which services are to be read: of those that are active, or were on such a day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import Case, CharField, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.functions import Cast

from ml_platform.models import DeployedEndpoint, Event, ServiceDailyMetrics
from ml_platform.models.states import EventKind

from .days import note_unread

DAYS_BACK = 40
"""Cloud Monitoring stores six weeks: https://cloud.google.com/monitoring/quotas#data_retention"""


def served(now: datetime) -> QuerySet[Any]:
    """The services that are active, or were on a day that Cloud Monitoring still has; those have
    `stopped_at`."""
    stops = Event.objects.filter(
        kind=EventKind.UNDEPLOYED,
        subject_type="deployedendpoint",
        subject_id=Cast(OuterRef("pk"), CharField()),
    )
    stopped_at = Case(When(is_active=False, then=Subquery(stops.order_by("-seq").values("at")[:1])))
    rows = DeployedEndpoint.objects.annotate(stopped_at=stopped_at)
    recent = Q(is_active=True) | Q(stopped_at__gte=now - timedelta(days=DAYS_BACK + 1))
    return rows.filter(recent).order_by("pk")


def deleted_after(name: str, now: datetime) -> tuple[DeployedEndpoint, list[date]] | None:
    """The next service, by its name, with days that nobody read and without an endpoint: its row
    was deleted, and what is returned has no id."""
    today = now.astimezone(UTC).date()
    rows = ServiceDailyMetrics.objects.filter(
        endpoint=None, complete=False, day__lt=today, day__gte=today - timedelta(days=DAYS_BACK)
    )
    first = rows.filter(service_name__gt=name).order_by("service_name").first()
    if first is None:
        return None
    endpoint = DeployedEndpoint(service_name=first.service_name, project_id=first.project_id)
    days = rows.filter(service_name=first.service_name).order_by("day")
    return endpoint, list(days.values_list("day", flat=True))


def missing_days(
    *, endpoint: DeployedEndpoint, now: datetime, stopped_at: datetime | None = None
) -> list[date]:
    """Return the past days since its first deploy that are not stored, oldest first.

    The day on which it was stopped is its last one.
    """
    today = now.astimezone(UTC).date()
    if stopped_at is not None:
        today = min(today, stopped_at.astimezone(UTC).date() + timedelta(days=1))
    began = min(filter(None, (endpoint.deployed_at, endpoint.created_at))).astimezone(UTC).date()
    first = max(began, today - timedelta(days=DAYS_BACK))
    kept = set(
        ServiceDailyMetrics.objects.filter(
            service_name=endpoint.service_name, day__gte=first, complete=True
        ).values_list("day", flat=True)
    )
    days = (first + timedelta(days=n) for n in range((today - first).days))
    return [day for day in days if day not in kept]


def keep_unread_days(endpoint: DeployedEndpoint, now: datetime) -> None:
    """Note the days of a stopped endpoint that were not read, also its last one, in the caller's
    transaction, which deletes its row: they are read when they are over."""
    tomorrow = now + timedelta(days=1)
    for row in served(now).filter(pk=endpoint.pk):
        days = missing_days(endpoint=row, now=tomorrow, stopped_at=row.stopped_at)
        note_unread(row, days, now)
