"""Sweeps: each one a comparison of our database with Google."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Self

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now

from ml_platform.models.database import PlatformModel, PlatformQuerySet
from ml_platform.models.states import (
    FINISHED_SWEEP_STATUSES,
    PERSON_NAME,
    SweepStatus,
)


class SweepQuerySet(PlatformQuerySet["Sweep"]):
    """A queryset of sweeps."""

    def finished(self) -> Self:
        """Sweeps that ended, newest first: their results can be used."""
        return self.filter(status__in=FINISHED_SWEEP_STATUSES).order_by("-id")

    def abandoned(self, *, now: datetime) -> Self:
        """Sweeps marked as running whose lease has expired."""
        return self.filter(_abandoned(now))

    def with_state(self, *, now: datetime) -> Self:
        """Annotate `state`: the status, or interrupted for an abandoned sweep."""
        interrupted = When(_abandoned(now), then=Value(SweepStatus.INTERRUPTED.value))
        return self.annotate(
            state=Case(interrupted, default=F("status"), output_field=models.CharField())
        )


def _abandoned(now: datetime) -> Q:
    return Q(status=SweepStatus.RUNNING) & (Q(lease_until=None) | Q(lease_until__lt=now))


class Sweep(PlatformModel):
    """One comparison of our database with Google. `planes` has what was read, or why it was not."""

    status = models.CharField(
        max_length=16, choices=SweepStatus.choices, default=SweepStatus.RUNNING
    )
    actor_label = models.CharField(max_length=PERSON_NAME)
    planes = models.JSONField(default=dict)
    counts = models.JSONField(default=dict)
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)
    lease_until = models.DateTimeField(
        null=True, blank=True, help_text="The process that sweeps renews it while it lives."
    )

    objects: ClassVar = SweepQuerySet.as_manager()

    class Meta:
        get_latest_by = "id"

    def __str__(self) -> str:
        return f"sweep {self.pk}"
