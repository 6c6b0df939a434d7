"""TrainingSchedule: a recurring intent to train a lineage."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from ml_platform.conf import project_model
from ml_platform.models.database import PlatformModel
from ml_platform.models.states import LIVE_SCHEDULE_STATES, Frequency, ModelType, ScheduleState

from .registered_model import MODEL_NAME_MAX, RegisteredModel, validate_model_name


class TrainingSchedule(PlatformModel):
    """Owns its lineage's name before the first success; ended, it outlives an orphan."""

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    project = models.ForeignKey(project_model(), on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=128)
    model_name = models.CharField(max_length=MODEL_NAME_MAX, validators=[validate_model_name])
    model_type = models.CharField(max_length=16, choices=ModelType.choices, default=ModelType.OTHER)
    registered_model = models.ForeignKey(
        RegisteredModel,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="training_schedules",
        help_text="Empty only after an ended schedule's orphaned lineage was cleaned up.",
    )
    state = models.CharField(
        max_length=16, choices=ScheduleState.choices, default=ScheduleState.ACTIVE
    )
    frequency = models.CharField(max_length=16, choices=Frequency.choices)
    cron = models.CharField(max_length=64, help_text="Unix cron of the Cloud Scheduler job.")
    time_zone = models.CharField(max_length=64, default="UTC", help_text="IANA name.")
    starts_at = models.DateTimeField(null=True, blank=True)
    next_run_at = models.DateTimeField(null=True, blank=True)
    last_run_at = models.DateTimeField(null=True, blank=True)
    scheduler_job_name = models.CharField(max_length=512, blank=True, default="")
    template_uri = models.CharField(max_length=1024, blank=True, default="")
    parameters = models.JSONField(default=dict, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="mlp_schedule_name_unique"),
            models.CheckConstraint(
                name="mlp_schedule_live_has_lineage",
                condition=~Q(state__in=LIVE_SCHEDULE_STATES) | Q(registered_model__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name
