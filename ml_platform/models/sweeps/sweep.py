"""Sweeps: each one a comparison of our database with Google."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Self

from django.db import models
from django.db.models import Case, F, Q, Subquery, Value, When
from django.db.models.functions import Coalesce, Greatest, Now

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

    def that_read(self, plane: str) -> Self:
        """Those of them that read that plane completely."""
        return self.finished().filter(**{f"planes__{plane}__read": True})

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


def as_of(checked_at: str, in_sweeps: Q, plane: str) -> Case:
    """The time of an answer: that of the row, or of the newest reading of the plane if each since
    then has given it too (`in_sweeps`)."""
    return Case(When(in_sweeps, then=or_read(checked_at, plane)), default=F(checked_at))


def or_read(at: str, plane: str) -> Coalesce:
    """The time in that column, or when the newest reading of the plane began if that is later."""
    newest = Sweep.objects.that_read(plane).values("started_at")[:1]
    return Coalesce(Greatest(at, Subquery(newest)), at)


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
