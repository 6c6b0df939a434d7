"""`manage.py setup_metrics_scheduler`: a daily job at Cloud Scheduler."""

from __future__ import annotations

from ml_platform.management.job_command import SetupCommand


class Command(SetupCommand):
    help = "Have Cloud Scheduler ring the collection of metrics at 02:00 UTC."
    job = "collect-resource-metrics"
