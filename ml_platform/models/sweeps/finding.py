"""Findings: what disagrees between our database and Google."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models
from django.db.models import Q

from ml_platform.conf import project_model
from ml_platform.models.database import PlatformModel, PlatformQuerySet
from ml_platform.models.operation import Operation
from ml_platform.models.registry.registered_model import RegisteredModel
from ml_platform.models.registry.training_run import TrainingRun
from ml_platform.models.states import PERSON_NAME, STANDING_FINDING_STATUSES, FindingStatus

from .sweep import Sweep

PLANE_SHRUNK = "plane_shrunk"
"""The kind of finding that is about a whole plane."""
VERSION_MISSING = "version_missing"
"""The kind of finding that Vertex AI has a model without one of its registered versions."""


class FindingQuerySet(PlatformQuerySet["Finding"]):
    """A queryset of findings."""

    def open(self) -> Self:
        """Findings that are neither repaired nor ignored, and were seen by the last sweep."""
        return self.filter(status=FindingStatus.OPEN)

    def alarms(self) -> Self:
        """The standing alarms, by their planes: what such a plane does not list proves nothing."""
        return self.filter(kind=PLANE_SHRUNK, status__in=STANDING_FINDING_STATUSES)


class Finding(PlatformModel):
    """One disagreement between our database and Google, with its evidence and its repair."""

    # Without choices, so that a new kind needs no migration: `services/findings/kinds/` has them.
    kind = models.CharField(max_length=32)
    status = models.CharField(
        max_length=16, choices=FindingStatus.choices, default=FindingStatus.OPEN
    )
    subject = models.CharField(max_length=255, help_text="What it is about, unique for its kind.")
    title = models.CharField(max_length=255)
    evidence = models.JSONField(default=dict)
    repair = models.CharField(max_length=255, help_text="What the safe repair does, in words.")
    project = models.ForeignKey(
        project_model(), null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    registered_model = models.ForeignKey(
        RegisteredModel, null=True, blank=True, on_delete=models.SET_NULL, related_name="findings"
    )
    run = models.ForeignKey(
        TrainingRun, null=True, blank=True, on_delete=models.SET_NULL, related_name="findings"
    )
    consecutive_sightings = models.PositiveIntegerField(
        default=1, db_column="looks", help_text="Sweeps in a row that saw it."
    )
    first_sweep = models.ForeignKey(
        Sweep, null=True, on_delete=models.SET_NULL, related_name="first_findings"
    )
    last_sweep = models.ForeignKey(
        Sweep, null=True, on_delete=models.SET_NULL, related_name="findings"
    )
    began_at = models.DateTimeField(
        null=True, blank=True, help_text="When it began to disagree; empty if that is not known."
    )
    began_told = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Google tells when; otherwise it did not begin before that time.",
    )
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    ignored_at = models.DateTimeField(null=True, blank=True)
    ignored_by = models.CharField(max_length=PERSON_NAME, blank=True, default="")
    ignored_reason = models.TextField(blank=True, default="")
    operation = models.ForeignKey(
        Operation, null=True, blank=True, on_delete=models.SET_NULL, related_name="findings"
    )

    objects: ClassVar = FindingQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"],
                condition=Q(status__in=STANDING_FINDING_STATUSES),
                name="mlp_finding_once",
            ),
        ]
        indexes = [models.Index(fields=["status", "kind"], name="mlp_finding_status")]

    def __str__(self) -> str:
        return self.title
