"""The mirror: copies of what the sweeps read from Google."""

from __future__ import annotations

from django.db import models

from ml_platform.models.database import PlatformModel

from .sweep import Sweep

THEIRS = "Whether its labels name another installation."


class MirroredModel(PlatformModel):
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


class MirroredArtifacts(PlatformModel):
    """The prefix of a run in GCS with a model that can be served."""

    prefix = models.CharField(max_length=1024, unique=True, help_text="gs://bucket/key/")
    folders = models.JSONField(
        null=True,
        help_text="By number of the pushed model: digest, files, bytes, and a difference if its "
        "version has another digest.",
    )
    seen_sweep = models.ForeignKey(Sweep, on_delete=models.CASCADE, related_name="+")
    seen_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "mirrored artifacts"

    def __str__(self) -> str:
        return self.prefix


class MirroredService(PlatformModel):
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
    ready_revision = models.CharField(
        max_length=128,
        blank=True,
        default="",
        db_default="",
        help_text="The newest one that became ready: it has the share of the latest.",
    )
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


class MirroredJob(PlatformModel):
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


class MirroredEndpoint(PlatformModel):
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
