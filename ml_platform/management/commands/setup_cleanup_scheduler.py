"""`manage.py setup_cleanup_scheduler`: a daily job at Cloud Scheduler."""

from __future__ import annotations

from ml_platform.management.job_command import SetupCommand


class Command(SetupCommand):
    help = "Have Cloud Scheduler ring the cleanup of artifacts at 03:00 UTC."
    job = "cleanup-gcs-artifacts"
