"""`manage.py setup_audit_scheduler`: a job at Cloud Scheduler for each hour."""

from __future__ import annotations

from ml_platform.management.job_command import SetupCommand


class Command(SetupCommand):
    help = "Have Cloud Scheduler ring the audit of the registry each hour."
    job = "audit-registry"
