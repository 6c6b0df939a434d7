"""`manage.py setup_resume_scheduler`: a job at Cloud Scheduler for each minute."""

from __future__ import annotations

from ml_platform.management.job_command import SetupCommand


class Command(SetupCommand):
    help = "Have Cloud Scheduler ring the resumption of operations each minute."
    job = "resume-operations"
