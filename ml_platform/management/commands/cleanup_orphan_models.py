"""`manage.py cleanup_orphan_models`: the daily job, by hand."""

from __future__ import annotations

from ml_platform.management.job_command import JobCommand


class Command(JobCommand):
    help = "Delete names that were never registered, are old, and that nothing alive needs."
    job = "cleanup-orphan-models"
    needs_cloud = False
