"""`manage.py setup_metrics_scheduler`: its job at Cloud Scheduler."""

from __future__ import annotations

from ml_platform.management.job_command import SetupCommand


class Command(SetupCommand):
    job = "collect-resource-metrics"
