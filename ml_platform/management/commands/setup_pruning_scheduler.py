"""`manage.py setup_pruning_scheduler`: create or update its Cloud Scheduler job."""

from __future__ import annotations

from ml_platform.management.job_command import SetupCommand


class Command(SetupCommand):
    job = "prune-history"
