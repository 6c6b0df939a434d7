"""Sweeps, the copies of what they read from Google, and their findings."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now

from ml_platform.conf import project_model

from .operation import Operation
from .registered_model import RegisteredModel
from .states import (
    FINISHED_SWEEP_STATUSES,
    PERSON_NAME,
    STANDING_FINDING_STATUSES,
    FindingStatus,
    SweepStatus,
)
from .training_run import TrainingRun


class SweepQuerySet(models.QuerySet["Sweep"]):
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


class Sweep(models.Model):
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

    objects = SweepQuerySet.as_manager()

    class Meta:
        get_latest_by = "id"

    def __str__(self) -> str:
        return f"sweep {self.pk}"


THEIRS = "Whether its labels name another installation."


class MirroredModel(models.Model):
    """A model as Vertex AI listed it, with its default version."""

    model_id = models.CharField(max_length=63, unique=True)
    resource_name = models.CharField(max_length=255)
    display_name = models.CharField(max_length=128)
    version = models.CharField(max_length=16)
    artifact_uri = models.CharField(max_length=1024, blank=True, default="")
    labels = models.JSONField(default=dict)
    owner = models.CharField(max_length=63, blank=True, default="")
    theirs = models.BooleanField(default=False, db_default=False, help_text=THEIRS)
    run_uid = models.CharField(max_length=32, blank=True, default="")
    remote_created_at = models.DateTimeField(null=True)
    remote_updated_at = models.DateTimeField(null=True)
    revision = models.CharField(
        max_length=320,
        blank=True,
        default="",
        db_default="",
        help_text="Its update time and etag: another one says that it, or a version, changed.",
    )
    versions = models.JSONField(null=True, help_text="All its versions, as they were last read.")
    versions_revision = models.CharField(
        max_length=320, blank=True, default="", db_default="", help_text="Its revision then."
    )
    versions_read_at = models.DateTimeField(
        null=True, help_text="When they were last read, or could not be."
    )
    seen_sweep = models.ForeignKey(Sweep, on_delete=models.CASCADE, related_name="+")
    seen_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["display_name"], name="mlp_mirror_display_name")]

    def __str__(self) -> str:
        return self.display_name


class MirroredArtifacts(models.Model):
    """The prefix of a run in GCS with a model that can be served."""

    prefix = models.CharField(max_length=1024, unique=True, help_text="gs://bucket/key/")
    folders = models.JSONField(
        null=True,
        help_text="By number of the pushed model: digest, files, bytes, and a difference if its "
        "version has another digest.",
    )
    seen_sweep = models.ForeignKey(Sweep, on_delete=models.CASCADE, related_name="+")
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.prefix


class MirroredService(models.Model):
    """A Cloud Run service as it was listed."""

    service_name = models.CharField(max_length=63, unique=True)
    uri = models.CharField(max_length=512, blank=True, default="")
    labels = models.JSONField(default=dict)
    owner = models.CharField(max_length=63, blank=True, default="")
    theirs = models.BooleanField(default=False, db_default=False, help_text=THEIRS)
    endpoint_uid = models.CharField(max_length=32, blank=True, default="")
    run_uid = models.CharField(max_length=32, blank=True, default="")
    ready = models.BooleanField(null=True)
    newest_revision = models.CharField(max_length=128, blank=True, default="")
    serving_revisions = models.JSONField(
        default=list, help_text="For the release before; EndpointTraffic has what is served."
    )
    spec = models.JSONField(
        null=True, help_text="What it has in the fields that we set; values are digests."
    )
    invokers = models.JSONField(
        null=True, help_text="Who may call it, where its endpoint names some; null if unknown."
    )
    changed_by = models.CharField(max_length=255, blank=True, default="", db_default="")
    changed_at = models.DateTimeField(null=True)
    seen_sweep = models.ForeignKey(Sweep, on_delete=models.CASCADE, related_name="+")
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.service_name


class MirroredJob(models.Model):
    """A Cloud Scheduler job as it was listed."""

    job_id = models.CharField(max_length=500, unique=True)
    resource_name = models.CharField(max_length=768)
    state = models.CharField(max_length=16)
    schedule = models.CharField(max_length=255, blank=True, default="", help_text="Unix cron.")
    time_zone = models.CharField(max_length=64, blank=True, default="")
    uri = models.CharField(max_length=2048, blank=True, default="")
    service_account = models.CharField(max_length=255, blank=True, default="")
    theirs = models.BooleanField(
        default=False, db_default=False, help_text="Whether it calls an address that is not ours."
    )
    next_at = models.DateTimeField(null=True)
    last_attempt_at = models.DateTimeField(null=True)
    last_error = models.TextField(
        blank=True, default="", help_text="How the last attempt failed; empty if it did not."
    )
    seen_sweep = models.ForeignKey(Sweep, on_delete=models.CASCADE, related_name="+")
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.job_id


class MirroredEndpoint(models.Model):
    """A Vertex AI endpoint as it was listed. We create none: people deploy versions to them."""

    endpoint_id = models.CharField(max_length=63, unique=True)
    resource_name = models.CharField(max_length=255)
    display_name = models.CharField(max_length=128, blank=True, default="")
    deployed = models.JSONField(
        default=list, help_text="Of each deployed version: id, model, version, percent."
    )
    remote_created_at = models.DateTimeField(null=True)
    seen_sweep = models.ForeignKey(Sweep, on_delete=models.CASCADE, related_name="+")
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.display_name or self.endpoint_id


PLANE_SHRUNK = "plane_shrunk"
"""The kind of finding that is about a whole plane."""
VERSION_MISSING = "version_missing"
"""The kind of finding that Vertex AI has a model without one of its registered versions."""


class FindingQuerySet(models.QuerySet["Finding"]):
    """A queryset of findings."""

    def open(self) -> Self:
        """Findings that are neither repaired nor ignored, and were seen by the last sweep."""
        return self.filter(status=FindingStatus.OPEN)

    def alarms(self) -> Self:
        """The standing alarms, by their planes: what such a plane does not list proves nothing."""
        return self.filter(kind=PLANE_SHRUNK, status__in=STANDING_FINDING_STATUSES)


class Finding(models.Model):
    """One disagreement between our database and Google, with its evidence and its repair."""

    # Without choices, so that a new kind needs no migration: `services/findings/kinds.py` has them.
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

    objects = FindingQuerySet.as_manager()

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
