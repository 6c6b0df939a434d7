"""How many models each caller had verified by Vertex AI, in the newest minute they did."""

from __future__ import annotations

from django.db import models

from ml_platform.models.database import PlatformModel


class VerificationCount(PlatformModel):
    """One row for each caller, and one for all of them. An older minute counts as none."""

    caller = models.CharField(
        max_length=255, primary_key=True, help_text="The key of a user; empty for all together."
    )
    minute = models.DateTimeField(help_text="When it began, by the clock of the database.")
    count = models.PositiveIntegerField()

    def __str__(self) -> str:
        return self.caller or "all callers"
