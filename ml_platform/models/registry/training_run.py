"""TrainingRun: one pipeline execution; once registered it is a version of its lineage."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from ml_platform.conf import project_model
from ml_platform.models.database import PlatformModel, PlatformQuerySet
from ml_platform.models.states import (
    DEPLOYABLE_RUN_STATUSES,
    HOLDS_POINTER,
    LIVE_RUN_STATUSES,
    PERSON_NAME,
    RUN_MOVES,
    Approval,
    ModelType,
    Registration,
    RunStatus,
    sources_of,
)

from .judgement import ALLOWS_DEPLOY, allows_deploy
from .registered_model import MODEL_NAME_MAX, RegisteredModel, validate_model_name


class TrainingRunQuerySet(PlatformQuerySet["TrainingRun"]):
    """Runs, and those of them that are versions."""

    def live(self) -> Self:
        """Runs that may still finish, in the order of their index, which SQLite needs to use it."""
        return self.filter(status__in=sorted(LIVE_RUN_STATUSES))

    def versions(self) -> Self:
        """Runs that are a version now: they point at Vertex AI."""
        return self.filter(registration__in=HOLDS_POINTER)

    def deployable(self) -> Self:
        """Versions that `require_deployable` allows to deploy."""
        return self.filter(
            ALLOWS_DEPLOY,
            registration=Registration.REGISTERED,
            status__in=sorted(DEPLOYABLE_RUN_STATUSES),
        )

    def move(self, *, to: str, **changes: Any) -> int:
        """Move these runs to a status by one conditional UPDATE; returns how many could move."""
        return self.filter(status__in=sources_of(RUN_MOVES, to)).update(status=to, **changes)


class TrainingRun(PlatformModel):
    """One pipeline execution of a project."""

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    project = models.ForeignKey(project_model(), on_delete=models.PROTECT, related_name="+")
    model_name = models.CharField(max_length=MODEL_NAME_MAX, validators=[validate_model_name])
    model_type = models.CharField(max_length=16, choices=ModelType.choices, default=ModelType.OTHER)
    registered_model = models.ForeignKey(
        RegisteredModel,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="training_runs",
    )
    schedule = models.ForeignKey(
        "ml_platform.TrainingSchedule",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="training_runs",
    )
    scheduled_for = models.DateTimeField(null=True, blank=True)
    rerun_of = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="reruns"
    )

    status = models.CharField(max_length=16, choices=RunStatus.choices, default=RunStatus.PENDING)
    stage = models.CharField(max_length=64, blank=True, default="")
    progress = models.PositiveSmallIntegerField(default=0, help_text="Per cent, 0 to 100.")
    error = models.TextField(blank=True, default="")
    remark = models.TextField(
        blank=True, default="", db_default="", help_text="Which metrics were not kept, and why."
    )
    template_uri = models.CharField(
        max_length=1024, blank=True, default="", help_text="Compiled pipeline: gs:// or a path."
    )
    parameters = models.JSONField(default=dict, blank=True)
    pipeline_job_name = models.CharField(max_length=255, blank=True, default="")
    gcs_artifacts_path = models.CharField(
        max_length=1024, blank=True, default="", help_text="gs://bucket/prefix/ of this run alone."
    )
    metrics = models.JSONField(default=dict, blank=True)
    is_blessed = models.BooleanField(
        null=True, blank=True, help_text="The evaluator's word; empty if it did not judge."
    )
    approval = models.CharField(
        max_length=16,
        choices=Approval.choices,
        default=Approval.NONE,
        db_default=Approval.NONE,
        blank=True,
        help_text="A person's word, which counts before the evaluator's.",
    )
    approval_by = models.CharField(max_length=PERSON_NAME, blank=True, default="", db_default="")
    approval_reason = models.TextField(blank=True, default="", db_default="")
    approval_at = models.DateTimeField(null=True, blank=True)

    registration = models.CharField(
        max_length=16, choices=Registration.choices, default=Registration.NONE, blank=True
    )
    version = models.PositiveIntegerField(
        null=True, blank=True, help_text="Number in our records; never used twice in a lineage."
    )
    vertex_model_resource_name = models.CharField(max_length=255, blank=True, default="")
    vertex_model_name = models.CharField(max_length=128, blank=True, default="")
    vertex_model_version = models.CharField(max_length=16, blank=True, default="")
    registered_at = models.DateTimeField(null=True, blank=True)
    aliases = models.JSONField(
        default=list, blank=True, help_text="Aliases of this version, as Vertex AI last said."
    )
    last_vertex_version = models.CharField(
        max_length=272,
        db_column="former_vertex_version",
        blank=True,
        default="",
        help_text="name@version this run pointed at before its version was deleted or lost.",
    )

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    submitted_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    last_polled_at = models.DateTimeField(
        null=True,
        blank=True,
        db_column="watched_at",
        help_text="When a poll last asked for its stage and progress.",
    )
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar = TrainingRunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="mlp_run_version_iff_pointer",
                condition=(
                    Q(registration__in=HOLDS_POINTER)
                    & ~Q(vertex_model_resource_name="")
                    & ~Q(vertex_model_name="")
                    & ~Q(vertex_model_version="")
                    & Q(
                        registered_at__isnull=False,
                        registered_model__isnull=False,
                        version__isnull=False,
                    )
                )
                | (
                    ~Q(registration__in=HOLDS_POINTER)
                    & Q(
                        vertex_model_resource_name="",
                        vertex_model_name="",
                        vertex_model_version="",
                        registered_at__isnull=True,
                    )
                ),
            ),
            models.UniqueConstraint(
                fields=["registered_model", "version"], name="mlp_run_version_unique"
            ),
            models.UniqueConstraint(
                fields=["vertex_model_resource_name", "vertex_model_version"],
                condition=~Q(vertex_model_resource_name=""),
                name="mlp_run_vertex_version_unique",
            ),
            models.UniqueConstraint(
                fields=["schedule", "scheduled_for"], name="mlp_run_once_per_tick"
            ),
            models.CheckConstraint(name="mlp_run_progress_percent", condition=Q(progress__lte=100)),
            models.CheckConstraint(
                name="mlp_run_approval_has_reason",
                condition=Q(
                    approval=Approval.NONE,
                    approval_by="",
                    approval_reason="",
                    approval_at__isnull=True,
                )
                | (
                    Q(approval__in=[Approval.APPROVED, Approval.WITHDRAWN])
                    & ~Q(approval_by="")
                    & ~Q(approval_reason="")
                    & Q(approval_at__isnull=False)
                ),
            ),
        ]
        indexes = [
            models.Index(fields=["project", "-created_at", "-id"], name="mlp_run_newest"),
            models.Index(
                fields=["status"],
                condition=Q(status__in=sorted(LIVE_RUN_STATUSES)),
                name="mlp_run_live",
            ),
            models.Index(fields=["project", "model_name"], name="mlp_run_lineage"),
            models.Index(fields=["project", "status"], name="mlp_run_project_status"),
            models.Index(
                fields=["registered_at"],
                condition=Q(registered_at__isnull=False),
                name="mlp_run_registered",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_name} run {self.pk}"

    @property
    def is_accepted(self) -> bool:
        """Whether its judgement allows to deploy it."""
        return allows_deploy(is_blessed=self.is_blessed, approval=self.approval)
