"""`manage.py collect_resource_metrics`: run the daily job once."""

from __future__ import annotations

from ml_platform.management.job_command import JobCommand


class Command(JobCommand):
    help = "Read what the active services did, day by day, from Cloud Monitoring."
    job = "collect-resource-metrics"
    options = ("dry_run",)
