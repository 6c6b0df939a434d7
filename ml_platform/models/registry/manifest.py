"""Manifest: names, sizes and checksums of a version's files, and the digest of that list."""

from __future__ import annotations

from django.db import models

from ml_platform.models.database import PlatformModel

from .training_run import TrainingRun


class ManifestOrigin(models.TextChoices):
    """When the manifest was taken. One taken later proves nothing about the time before."""

    REGISTRATION = "registration", "at registration"
    ADOPTION = "adoption", "at adoption"
    SWEEP = "sweep", "by a later sweep"
    DEPLOY = "deploy", "by a later deploy"


class FilesState(models.TextChoices):
    """What the last complete listing of the files said about them."""

    UNCHECKED = "", "Not compared yet"
    VERIFIED = "verified", "Verified"
    CHANGED = "changed", "Changed"
    INCOMPLETE = "incomplete", "Incomplete"
    MISSING = "missing", "Missing"


DIFFERING = (FilesState.CHANGED, FilesState.INCOMPLETE, FilesState.MISSING)
"""States in which the files in Cloud Storage are not those of the version."""


class Manifest(PlatformModel):
    """The files of one version. A row of its own, because few readers need the list."""

    # Without a constraint, because the release before this one deletes runs and knows no manifest.
    run = models.OneToOneField(
        TrainingRun, on_delete=models.CASCADE, db_constraint=False, related_name="manifest"
    )
    folder = models.CharField(max_length=1024, help_text="gs://bucket/key/ of the saved model.")
    digest = models.CharField(
        max_length=40, help_text="Of the names, sizes and crc32c of its files: 40 hex digits."
    )
    file_count = models.PositiveBigIntegerField()
    total_bytes = models.PositiveBigIntegerField()
    files = models.JSONField(
        null=True, help_text="[name, size, crc32c, generation] of each; null if they are too many."
    )
    origin = models.CharField(max_length=16, choices=ManifestOrigin.choices)
    taken_at = models.DateTimeField()
    state = models.CharField(
        max_length=16, choices=FilesState.choices, default=FilesState.UNCHECKED, blank=True
    )
    checked_at = models.DateTimeField(
        null=True, help_text="When the comparison began that wrote the state."
    )
    in_sweeps = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Each listing of the files since then said the same.",
    )
    difference = models.JSONField(
        default=dict, help_text="How the files differ: by word, their number and the first names."
    )

    def __str__(self) -> str:
        return f"{self.folder} {self.digest}"
