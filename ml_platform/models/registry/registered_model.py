"""RegisteredModel: a named lineage in a project, and the one definition of "registered"."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from functools import cache
from typing import ClassVar, Self

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Case, Exists, F, OuterRef, Q, Value, When
from django.db.models.functions import Now

from ml_platform.conf import project_model
from ml_platform.models.database import PlatformModel, PlatformQuerySet
from ml_platform.models.states import (
    LIVE_SCHEDULE_STATES,
    ModelType,
    RegistryState,
    RetentionReason,
)

MODEL_NAME_MAX = 63
NO_TRAFFIC = date(1970, 1, 1)
"""A day before any traffic, so that models without any have a place in an order by it."""
validate_model_name = RegexValidator(
    r"\A[a-z][a-z0-9_-]{0,62}\Z",
    "A model name has 1 to 63 characters: lower-case letters, digits, _ and -, "
    "and begins with a letter.",
)

REGISTERED = ~Q(vertex_model_resource_name="")
"""Whether a lineage has at least one version: the one definition (law 1)."""


class RegisteredModelQuerySet(PlatformQuerySet["RegisteredModel"]):
    """The queryset of all counts and lists of registered models, so that they agree (law 1)."""

    def registered(self) -> Self:
        """Lineages with at least one version."""
        return self.filter(REGISTERED)

    def never_registered(self) -> Self:
        """Lineages that never had a version; not those whose versions are gone."""
        return self.filter(vertex_model_resource_name="", next_version=1)

    def orphans(self, *, created_before: datetime) -> Self:
        """Lineages never registered, older than the given time, and not needed."""
        return self.never_registered().filter(created_at__lt=created_before).unneeded()

    def unneeded(self) -> Self:
        """Lineages without live schedule, unfinished run, endpoint or live operation."""
        rows = self
        for need in _needs().values():
            # One filter each: PostgreSQL plans each as an anti-join, but not their disjunction.
            rows = rows.exclude(need)
        return rows

    def needs(self) -> dict[int, str]:
        """The id and the RetentionReason of each lineage that is still needed."""
        cases = [When(need, then=Value(str(name))) for name, need in _needs().items()]
        need = Case(*cases, default=Value(""), output_field=models.CharField())
        return dict(self.annotate(need=need).exclude(need="").values_list("pk", "need"))


@cache
def _needs() -> dict[RetentionReason, Q]:
    """Why a lineage of any age is not an orphan; the first reason that applies.

    Cleanup never deletes what a schedule or an unfinished run needs (law 9). Kept, since building
    it costs as much as asking the database.
    """
    from ml_platform.models.endpoints.deployed_endpoint import DeployedEndpoint
    from ml_platform.models.endpoints.endpoint_traffic import EndpointTraffic
    from ml_platform.models.operation import Operation

    from .training_run import TrainingRun
    from .training_schedule import TrainingSchedule

    lineage = OuterRef("pk")
    runs = TrainingRun.objects.live()
    same_name = runs.filter(project=OuterRef("project"), model_name=OuterRef("model_name"))
    schedules = TrainingSchedule.objects.filter(state__in=LIVE_SCHEDULE_STATES)
    return {
        RetentionReason.RUN: Q(Exists(runs.filter(registered_model=lineage)))
        | Q(Exists(same_name)),
        RetentionReason.SCHEDULE: Q(Exists(schedules.filter(registered_model=lineage))),
        RetentionReason.ENDPOINT: Q(
            Exists(DeployedEndpoint.objects.filter(registered_model=lineage))
        )
        | Q(Exists(EndpointTraffic.objects.filter(run__registered_model=lineage))),
        RetentionReason.OPERATION: Q(Exists(Operation.objects.live().filter(lineage=lineage))),
    }


class RegisteredModel(PlatformModel):
    """A named lineage, with a summary of its versions: the runs that point at Vertex AI."""

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    project = models.ForeignKey(project_model(), on_delete=models.PROTECT, related_name="+")
    model_name = models.CharField(max_length=MODEL_NAME_MAX, validators=[validate_model_name])
    model_type = models.CharField(max_length=16, choices=ModelType.choices, default=ModelType.OTHER)
    description = models.TextField(blank=True, default="")
    generation = models.PositiveIntegerField(
        default=1,
        help_text="Part of the Vertex model id. Grows when the parent model is established to be "
        "gone, so that no Vertex id is ever used twice.",
    )
    next_version = models.PositiveIntegerField(
        default=1, help_text="Number of the next version in our records; never goes back."
    )
    vertex_model_resource_name = models.CharField(
        max_length=255, blank=True, default="", help_text="Parent model in Vertex AI, no version."
    )
    total_versions = models.PositiveIntegerField(default=0)
    latest_run = models.ForeignKey(
        "ml_platform.TrainingRun",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The newest version.",
    )
    latest_registered_at = models.DateTimeField(null=True, blank=True)
    registry_state = models.CharField(
        max_length=16,
        choices=RegistryState.choices,
        default=RegistryState.UNCHECKED,
        blank=True,
    )
    registry_checked_at = models.DateTimeField(
        null=True, blank=True, help_text="When the sweep began that wrote the state."
    )
    registry_in_sweeps = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Each reading of Vertex AI since then judged it so: the answer is of the newest.",
    )
    last_traffic_on = models.DateField(
        default=NO_TRAFFIC,
        db_default=NO_TRAFFIC,
        editable=False,
        help_text="The newest day on which an endpoint of it had requests; 1970-01-01 if none had.",
    )
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar = RegisteredModelQuerySet.as_manager()

    class Meta:
        # With Django's own view and delete: the rights of `services.rights`.
        permissions = [
            ("train_registeredmodel", "Can train models"),
            ("deploy_registeredmodel", "Can deploy models"),
            ("administer_registeredmodel", "Can administer the platform"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["project", "model_name"], name="mlp_model_name_unique"),
            models.CheckConstraint(
                name="mlp_model_registered_iff_version",
                condition=Q(
                    vertex_model_resource_name="",
                    total_versions=0,
                    latest_run__isnull=True,
                    latest_registered_at__isnull=True,
                )
                | (
                    ~Q(vertex_model_resource_name="")
                    & Q(
                        total_versions__gt=0,
                        latest_run__isnull=False,
                        latest_registered_at__isnull=False,
                        next_version__gt=F("total_versions"),
                    )
                ),
            ),
            models.UniqueConstraint(
                fields=["vertex_model_resource_name"],
                condition=~Q(vertex_model_resource_name=""),
                name="mlp_model_vertex_name_unique",
            ),
        ]
        indexes = [
            models.Index(
                fields=["project", "model_name"],
                condition=~Q(vertex_model_resource_name=""),
                name="mlp_model_registered",
            ),
            # A narrow index, because each list counts its exact total by reading all of it.
            models.Index(
                fields=["project"],
                condition=~Q(vertex_model_resource_name=""),
                name="mlp_model_counted",
            ),
            models.Index(
                fields=["project", "-latest_registered_at", "-id"], name="mlp_model_newest"
            ),
            models.Index(fields=["-latest_registered_at", "-id"], name="mlp_model_newest_all"),
            # Not for registered models alone: SQLite does not use such an index for a condition
            # with a parameter.
            models.Index(fields=["model_name", "id"], name="mlp_model_named_all"),
            models.Index(fields=["project", "-total_versions", "-id"], name="mlp_model_versions"),
            models.Index(fields=["-total_versions", "-id"], name="mlp_model_versions_all"),
            models.Index(fields=["project", "-last_traffic_on", "-id"], name="mlp_model_traffic"),
            models.Index(fields=["-last_traffic_on", "-id"], name="mlp_model_traffic_all"),
            models.Index(
                fields=["model_type", "-latest_registered_at", "-id"], name="mlp_model_type_newest"
            ),
            models.Index(
                fields=["registry_state", "-latest_registered_at", "-id"],
                name="mlp_model_state_newest",
            ),
            models.Index(
                fields=["id", "created_at"],
                condition=Q(vertex_model_resource_name="", next_version=1),
                name="mlp_model_never_registered",
            ),
        ]

    def __str__(self) -> str:
        return self.model_name
