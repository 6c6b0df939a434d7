"""DeployedEndpoint: a Cloud Run service that serves one version."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from ml_platform.conf import project_model
from ml_platform.models.database import PlatformModel, PlatformQuerySet
from ml_platform.models.registry.registered_model import RegisteredModel
from ml_platform.models.registry.training_run import TrainingRun
from ml_platform.models.states import PROTECTING_ENDPOINT_STATES, EndpointState

SERVICE_NAME_MAX = 49
"""`service_id` has fewer than 50 characters (google-cloud-run, types/service.py)."""


class DeployedEndpointQuerySet(PlatformQuerySet["DeployedEndpoint"]):
    """A queryset of endpoints."""

    def protecting(self) -> DeployedEndpointQuerySet:
        """Endpoints that serve or may serve a version, which therefore must not be deleted."""
        return self.filter(Q(is_active=True) | Q(state__in=PROTECTING_ENDPOINT_STATES))


class DeployedEndpoint(PlatformModel):
    """One Cloud Run service. `is_active`: it serves; `model_deleted`: it cannot serve again."""

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    project = models.ForeignKey(project_model(), on_delete=models.PROTECT, related_name="+")
    registered_model = models.ForeignKey(
        RegisteredModel, on_delete=models.PROTECT, related_name="deployed_endpoints"
    )
    service_name = models.CharField(max_length=SERVICE_NAME_MAX, unique=True)
    state = models.CharField(
        max_length=16, choices=EndpointState.choices, default=EndpointState.INACTIVE
    )
    is_active = models.BooleanField(default=False)
    model_deleted = models.BooleanField(default=False)
    run = models.ForeignKey(
        TrainingRun,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="deployed_endpoints",
        help_text="The version it serves, or served last.",
    )
    intended_run = models.ForeignKey(
        TrainingRun,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The version a running deploy brings up.",
    )
    previous_run = models.ForeignKey(
        TrainingRun,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The version before, for a rollback.",
    )
    url = models.URLField(max_length=512, blank=True, default="")
    revision = models.CharField(max_length=128, blank=True, default="")
    config = models.JSONField(default=dict, blank=True)
    written = models.JSONField(
        null=True,
        blank=True,
        help_text="What we wrote last into the service, and the revision that it made. Empty for "
        "an endpoint of before; the next sweep takes it from the service.",
    )
    previous_config = models.JSONField(
        default=dict, blank=True, help_text="How the version before was served, for a rollback."
    )
    error = models.TextField(blank=True, default="")
    deployed_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar = DeployedEndpointQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="mlp_endpoint_deleted_is_idle",
                condition=~Q(is_active=True, model_deleted=True),
            ),
            models.CheckConstraint(
                name="mlp_endpoint_active_has_run",
                condition=Q(is_active=False) | Q(run__isnull=False),
            ),
            models.CheckConstraint(
                name="mlp_endpoint_deploying_has_intent",
                condition=~Q(state=EndpointState.DEPLOYING) | Q(intended_run__isnull=False),
            ),
        ]
        indexes = [
            models.Index(fields=["project", "-created_at", "-id"], name="mlp_endpoint_newest"),
        ]

    def __str__(self) -> str:
        return self.service_name
