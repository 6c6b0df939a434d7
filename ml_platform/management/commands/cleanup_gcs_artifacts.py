"""`manage.py cleanup_gcs_artifacts`: run the daily job once."""

from __future__ import annotations

from ml_platform.management.job_command import JobCommand


class Command(JobCommand):
    help = "Delete the artifacts of old runs that are not a version."
    job = "cleanup-gcs-artifacts"
    options = ("dry_run", "days", "include_registered", "delete_strays")
