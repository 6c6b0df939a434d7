"""`manage.py prune_history`: delete old rows of the history from the database."""

from __future__ import annotations

from ml_platform.management.job_command import JobCommand


class Command(JobCommand):
    """Needs no answer of Google."""

    help = (
        "Delete ended operations, events and closed findings older than HISTORY_DAYS (or --days), "
        "sweeps older than 90 days, and old task results. What is still evidence stays."
    )
    job = "prune-history"
