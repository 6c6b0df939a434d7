"""ServiceDailyMetrics: the metrics of one service on one day."""

from __future__ import annotations

from django.db import models

from ml_platform.conf import project_model
from ml_platform.models.database import PlatformModel

from .deployed_endpoint import DeployedEndpoint


class ServiceDailyMetrics(PlatformModel):
    """One UTC day of a Cloud Run service. None means that Cloud Monitoring had no data, or, where
    the day is not complete, that it could not be read."""

    service_name = models.CharField(max_length=63)
    endpoint = models.ForeignKey(
        DeployedEndpoint, null=True, on_delete=models.SET_NULL, related_name="days"
    )
    project = models.ForeignKey(project_model(), on_delete=models.PROTECT, related_name="+")
    day = models.DateField()
    requests = models.BigIntegerField(null=True)
    errors = models.BigIntegerField(null=True, help_text="Answers of the class 5xx.")
    latency_p50 = models.FloatField(null=True, help_text="Milliseconds.")
    latency_p95 = models.FloatField(null=True, help_text="Milliseconds.")
    cpu = models.FloatField(null=True, help_text="Highest share of what was given, 0 to 1.")
    memory = models.FloatField(null=True, help_text="Highest share of what was given, 0 to 1.")
    instances = models.FloatField(null=True, help_text="The most at one time.")
    complete = models.BooleanField(default=False, help_text="Read after the day was over.")
    read_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "service daily metrics"
        db_table = "ml_platform_serviceday"
        constraints = [
            models.UniqueConstraint(fields=["service_name", "day"], name="mlp_service_day_once"),
        ]
        indexes = [models.Index(fields=["project", "-day"], name="mlp_service_day_newest")]

    def __str__(self) -> str:
        return f"{self.service_name} {self.day}"
