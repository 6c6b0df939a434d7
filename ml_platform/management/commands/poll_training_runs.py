"""`manage.py poll_training_runs`: update all active runs from their pipelines."""

from __future__ import annotations

from typing import Any

from ml_platform.management.base import UNREADABLE, PlatformCommand
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor
from ml_platform.services.training.polling import poll_training_runs


class Command(PlatformCommand):
    help = "Update all active training runs. Exits 2 when Google gave no usable answer."

    def work(self, **_: Any) -> int:
        """Poll once and print the result."""
        actor = Actor(label="poll_training_runs", origin="command")
        result = poll_training_runs(actor=actor, clock=database_now)
        self.stdout.write(result.summary)
        for reason in result.unknown:
            self.stderr.write(f"Unknown: {reason}")
        return UNREADABLE if result.unknown else 0
