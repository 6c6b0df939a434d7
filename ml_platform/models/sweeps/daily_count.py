"""DailyCount: how many models, versions and findings there were at the end of a day."""

from __future__ import annotations

from django.db import models as db

from ml_platform.conf import project_model
from ml_platform.models.database import PlatformModel


class DailyCount(PlatformModel):
    """The counts of one project as the last sweep of a UTC day saw them. They are never computed
    again, so what is deleted later does not change the past.

    Findings that belong to no project have a row of their own, which each counted day has. A
    project without a row on such a day had nothing.
    """

    day = db.DateField()
    project_key = db.CharField(
        max_length=64, blank=True, default="", help_text="The key of the project; '' for none."
    )
    project = db.ForeignKey(
        project_model(),
        null=True,
        on_delete=db.SET_NULL,
        related_name="+",
        help_text="Empty when the project was deleted; its counts stay.",
    )
    models = db.PositiveIntegerField()
    versions = db.PositiveIntegerField()
    deployed = db.PositiveIntegerField(
        null=True, help_text="By `ServingStatus`; null before the first sweep that counted."
    )
    findings = db.PositiveIntegerField(
        null=True, help_text="Open or ignored; null before the first sweep that counted."
    )
    endpoints_active = db.PositiveIntegerField(null=True, help_text="Null as `serving_verified`.")
    serving_verified = db.PositiveIntegerField(
        null=True,
        help_text="By `ServingTruth`, of the active endpoints; null before the first sweep that "
        "counted, and when it could not read a plane.",
    )
    counted_at = db.DateTimeField()

    class Meta:
        constraints = [
            db.UniqueConstraint(fields=["day", "project_key"], name="mlp_daily_count_once"),
        ]
        indexes = [db.Index(fields=["project", "-day"], name="mlp_daily_count_newest")]

    def __str__(self) -> str:
        return f"{self.project_key or 'no project'} {self.day}"
