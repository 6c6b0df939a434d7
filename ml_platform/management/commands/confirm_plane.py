"""`manage.py confirm_plane`: say that a plane really lacks what its alarm counts."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.findings import CONFIRM
from ml_platform.errors import NotFound
from ml_platform.management.base import PlatformCommand
from ml_platform.models import Finding
from ml_platform.services.mirror.brake import PLANES


class Command(PlatformCommand):
    """It shows the alarm; only with --yes does it confirm it."""

    help = (
        "Show the alarm that a plane suddenly lacks much of what it had, and with --yes confirm "
        "it, so that the next sweep makes a finding for each."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the plane and --yes."""
        parser.add_argument("plane", choices=tuple(PLANES))
        parser.add_argument("--yes", action="store_true", help="Confirm it.")

    def work(self, **options: Any) -> int:
        """Show the alarm; with --yes confirm it."""
        alarm = Finding.objects.alarms().filter(subject=options["plane"]).first()
        if alarm is None:
            raise NotFound("There is no alarm about this plane.", advice="Run audit_registry.")
        self.stdout.write(f"{alarm.title}.")
        self.stdout.write(f"Among them: {', '.join(alarm.evidence['named'])}.")
        if not options["yes"]:
            self.stdout.write("Nothing was changed. Confirm with --yes.")
            return 0
        perform(CONFIRM, alarm.pk, None, Caller.system("confirm_plane"))
        self.stdout.write("Confirmed: the next sweep makes a finding for each.")
        return 0
