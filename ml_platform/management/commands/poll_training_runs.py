"""`manage.py poll_training_runs`: update all active runs from their pipelines."""

from __future__ import annotations

from ml_platform.management.job_command import JobCommand


class Command(JobCommand):
    help = "Update all active training runs. Exits 2 when Google gave no usable answer."
    job = "poll-training-runs"
    options = ()
