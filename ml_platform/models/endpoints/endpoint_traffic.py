"""EndpointTraffic: which revisions of an endpoint's service get requests, as Cloud Run said."""

from __future__ import annotations

from django.db import models

from ml_platform.models.database import PlatformModel
from ml_platform.models.registry.training_run import TrainingRun

from .deployed_endpoint import DeployedEndpoint


class EndpointTraffic(PlatformModel):
    """A revision that requests may reach: by a share of the traffic, or by its tag.

    Each row protects its version, whatever version the endpoint's own row names. The rows of an
    endpoint are replaced together, by a sweep or by an operation that has read the service.
    """

    # Without constraints, because the release before this one deletes endpoints and runs and knows
    # no such rows.
    endpoint = models.ForeignKey(
        DeployedEndpoint, on_delete=models.CASCADE, db_constraint=False, related_name="traffic"
    )
    run = models.ForeignKey(
        TrainingRun,
        null=True,
        on_delete=models.PROTECT,
        db_constraint=False,
        related_name="+",
        help_text="Whose files the revision reads; empty if they are none of ours.",
    )
    revision = models.CharField(max_length=128)
    percent = models.PositiveSmallIntegerField(help_text="0 for one that its tag alone reaches.")
    tag = models.CharField(max_length=64, blank=True, default="")
    url = models.CharField(max_length=512, blank=True, default="", help_text="The tag's address.")
    unread = models.TextField(
        blank=True, default="", help_text="Why it is unknown what the revision reads."
    )
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "revision", "tag"], name="mlp_traffic_revision_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.revision}: {self.words}"

    @property
    def words(self) -> str:
        """What it gets: `10 % of the traffic and the tag canary`."""
        return traffic_words(self.percent, self.tag)


def traffic_words(percent: int, tag: str) -> str:
    """What a revision gets, in words."""
    parts = [f"{percent} % of the traffic" if percent else "", f"the tag {tag}" if tag else ""]
    return " and ".join(filter(None, parts)) or "no traffic"
