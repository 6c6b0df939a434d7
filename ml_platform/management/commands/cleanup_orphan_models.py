"""`manage.py cleanup_orphan_models`: run the daily job once."""

from __future__ import annotations

from ml_platform.management.job_command import JobCommand


class Command(JobCommand):
    help = "Delete old model names that were never registered and that no active row needs."
    job = "cleanup-orphan-models"
    needs_cloud = False
