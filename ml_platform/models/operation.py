"""Operation: one recorded, restartable change in our database and on Google Cloud."""

from __future__ import annotations

import uuid
from typing import ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from ml_platform.conf import project_model

from .database import PlatformModel, PlatformQuerySet
from .states import LIVE_OPERATION_STATUSES, PERSON_NAME, OperationKind, OperationStatus


class OperationQuerySet(PlatformQuerySet["Operation"]):
    """A queryset of operations."""

    def live(self) -> Self:
        """Operations that wait or run."""
        return self.filter(status__in=LIVE_OPERATION_STATUSES)


class Operation(PlatformModel):
    """What was requested, by whom, its present step and its result. It outlives its subject.

    `lineage_key` and `service_key` are locks: a constraint allows one running Operation for each.
    They are names, so that they can be held before the row of that name exists.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workflow = models.CharField(
        max_length=48,
        blank=True,
        default="",
        db_default="",
        help_text="Names the program that carries it out; empty when the release before opened it.",
    )
    # The workflow's group; filled for one more release.
    kind = models.CharField(max_length=16, choices=OperationKind.choices)
    status = models.CharField(
        max_length=16, choices=OperationStatus.choices, default=OperationStatus.PENDING
    )
    project = models.ForeignKey(
        project_model(),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
    )
    subject_type = models.CharField(max_length=32, blank=True, default="")
    subject_id = models.CharField(max_length=64, blank=True, default="")
    subject_name = models.CharField(max_length=255, blank=True, default="")
    lineage = models.ForeignKey(
        "ml_platform.RegisteredModel",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="operations",
        help_text="The lineage it is about; its name is kept in lineage_key.",
    )
    lineage_key = models.CharField(max_length=128, blank=True, default="")
    service_key = models.CharField(max_length=128, blank=True, default="")
    idempotency_key = models.CharField(max_length=255, null=True, blank=True, unique=True)
    request_digest = models.CharField(max_length=64, blank=True, default="")

    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    actor_label = models.CharField(max_length=PERSON_NAME)
    origin = models.CharField(max_length=16, help_text="page, api, command, scheduler or worker.")
    reason = models.TextField(blank=True, default="")

    step = models.CharField(max_length=32, blank=True, default="", help_text="The next step.")
    steps = models.JSONField(default=list, blank=True, help_text="What was done, with times.")
    data = models.JSONField(default=dict, blank=True, help_text="What later steps need to know.")
    remote_operation = models.CharField(max_length=512, blank=True, default="")
    fence = models.PositiveIntegerField(default=0, help_text="Grows each time a worker claims it.")
    lease_until = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Tries of the current step.")
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    cancel_requested = models.BooleanField(default=False)
    error_code = models.CharField(max_length=64, blank=True, default="")
    error = models.TextField(blank=True, default="")
    advice = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar = OperationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["lineage_key"],
                condition=Q(status=OperationStatus.RUNNING) & ~Q(lineage_key=""),
                name="mlp_operation_one_per_lineage",
            ),
            models.UniqueConstraint(
                fields=["service_key"],
                condition=Q(status=OperationStatus.RUNNING) & ~Q(service_key=""),
                name="mlp_operation_one_per_service",
            ),
            models.CheckConstraint(
                name="mlp_operation_ended_has_time",
                condition=Q(status__in=LIVE_OPERATION_STATUSES, finished_at__isnull=True)
                | (~Q(status__in=LIVE_OPERATION_STATUSES) & Q(finished_at__isnull=False)),
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at"], name="mlp_operation_newest"),
            models.Index(fields=["project", "-created_at"], name="mlp_operation_project"),
            models.Index(
                fields=["next_attempt_at"],
                condition=Q(status__in=LIVE_OPERATION_STATUSES),
                name="mlp_operation_live",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject_name}"

    @property
    def was_refused(self) -> bool:
        """Whether the request was refused: it was never started, so it has no step."""
        return self.status == OperationStatus.FAILED and not self.step
