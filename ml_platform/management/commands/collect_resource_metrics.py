"""`manage.py collect_resource_metrics`: the daily job, by hand."""

from __future__ import annotations

from ml_platform.management.job_command import JobCommand


class Command(JobCommand):
    help = "Read what the active services did, day by day, from Cloud Monitoring."
    job = "collect-resource-metrics"
    ages = False
