"""API tokens, and the stored answers to requests with an Idempotency-Key."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from .database import PlatformModel, PlatformQuerySet


class ApiTokenQuerySet(PlatformQuerySet["ApiToken"]):
    """A queryset of tokens."""

    def valid(self, *, now: datetime | Now) -> Self:
        """Tokens that are neither revoked nor expired."""
        return self.filter(revoked_at__isnull=True, expires_at__gt=now)


class ApiToken(PlatformModel):
    """A bearer token of a user. The token itself is shown once and never stored."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="ml_api_tokens"
    )
    name = models.CharField(max_length=100, help_text="What it is for.")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the token.")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(
        null=True, blank=True, help_text="Within a minute; not every request is written."
    )

    objects: ClassVar = ApiTokenQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name


class IdempotentResponse(PlatformModel):
    """The response to a request with an Idempotency-Key; `status` is empty until there is one."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    request_digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    location = models.CharField(max_length=255, blank=True, default="")
    body = models.TextField(blank=True, default="")
    checked = models.JSONField(
        default=dict, blank=True, help_text="What its request needed, and who repeats it needs."
    )
    created_at = models.DateTimeField()

    class Meta:
        db_table = "ml_platform_keptanswer"
        constraints = [
            models.UniqueConstraint(fields=["user", "key"], name="mlp_answer_once_per_key"),
            models.CheckConstraint(
                name="mlp_answer_running_is_empty",
                condition=Q(status__isnull=False) | Q(body="", location=""),
            ),
        ]
        indexes = [models.Index(fields=["created_at"], name="mlp_answer_age")]

    def __str__(self) -> str:
        return self.key
