"""The installation: who this database is to Google."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q

from .database import PlatformModel
from .states import PERSON_NAME


class Installation(PlatformModel):
    """The only row: our uid, and the nonces by which the marker object knows this database."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    uid = models.UUIDField(default=uuid.uuid4, editable=False)
    marker = models.CharField(
        max_length=1024, blank=True, default="", help_text="gs:// URI of the marker we wrote last."
    )
    nonce = models.CharField(
        max_length=32, blank=True, default="", help_text="What the marker was seen to hold."
    )
    next_nonce = models.CharField(
        max_length=32,
        blank=True,
        default="",
        help_text="What a write under way may have put there.",
    )
    written_at = models.DateTimeField(null=True, blank=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    confirmed_by = models.CharField(max_length=PERSON_NAME, blank=True, default="")
    stopped_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when nothing is deleted at Google."
    )
    stopped_reason = models.TextField(blank=True, default="")

    class Meta:
        constraints = [models.CheckConstraint(name="mlp_installation_once", condition=Q(pk=1))]

    def __str__(self) -> str:
        return f"installation {self.uid}"
