"""`manage.py poll_training_runs`: bring all running runs to where their pipelines are."""

from __future__ import annotations

from typing import Any

from ml_platform.management.base import UNREADABLE, PlatformCommand
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor
from ml_platform.services.training.polling import poll_training_runs


class Command(PlatformCommand):
    help = "Follow all running training runs; exits 2 when something could not be asked."

    def work(self, **_: Any) -> int:
        """Poll once and say what came of it."""
        actor = Actor(label="poll_training_runs", origin="command")
        result = poll_training_runs(actor=actor, clock=database_now)
        self.stdout.write(result.summary)
        for reason in result.unknown:
            self.stderr.write(f"Unknown: {reason}")
        return UNREADABLE if result.unknown else 0
