"""Folders whose files are deleted once it is proven that nobody uses them."""

from __future__ import annotations

from django.db import models

from ml_platform.models.database import PlatformModel
from ml_platform.models.operation import Operation

from .training_run import TrainingRun


class AwaitingRemoval(PlatformModel):
    """The folder of a deleted version. Its row is deleted when no file is left.

    It is written in the transaction that ends the deletion in Vertex AI. The files may go when a
    complete reading of all that may refer to them, begun after that, has found nobody.
    """

    # Without constraints, because the release before this one deletes runs and knows no such row.
    run = models.OneToOneField(
        TrainingRun, on_delete=models.CASCADE, db_constraint=False, related_name="awaiting_removal"
    )
    folder = models.CharField(max_length=1024, help_text="gs://bucket/key/ of the run.")
    operation = models.ForeignKey(
        Operation, null=True, on_delete=models.SET_NULL, db_constraint=False, related_name="+",
        help_text="The deletion that deletes them itself, as long as it runs.",
    )  # fmt: skip
    marked_at = models.DateTimeField()
    looked_at = models.DateTimeField(
        null=True, help_text="When the last complete reading of their users began."
    )
    reason = models.TextField(
        blank=True, default="", help_text="Why the files are still there; empty if not tried yet."
    )
    refused = models.PositiveBigIntegerField(
        default=0, help_text="Objects that Cloud Storage refused to delete."
    )

    def __str__(self) -> str:
        return self.folder
