"""`manage.py setup_orphan_cleanup_scheduler`: a daily job at Cloud Scheduler."""

from __future__ import annotations

from ml_platform.management.job_command import SetupCommand


class Command(SetupCommand):
    help = "Have Cloud Scheduler ring the cleanup of orphans at 04:00 UTC."
    job = "cleanup-orphan-models"
