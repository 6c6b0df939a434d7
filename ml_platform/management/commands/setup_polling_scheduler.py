"""`manage.py setup_polling_scheduler`: a job at Cloud Scheduler for each minute."""

from __future__ import annotations

from ml_platform.management.job_command import SetupCommand


class Command(SetupCommand):
    help = "Have Cloud Scheduler ring the polling of training runs each minute."
    job = "poll-training-runs"
