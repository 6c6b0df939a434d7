"""`manage.py confirm_installation`: say that this database owns what it has recorded at Google."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.system import CONFIRM
from ml_platform.errors import CloudUnavailable, PlatformError
from ml_platform.management.base import PlatformCommand
from ml_platform.models.clock import database_now
from ml_platform.models.states import LIVE_OPERATION_STATUSES, OperationStatus
from ml_platform.services.installation.identity import current, identity
from ml_platform.services.installation.marker import place, read_marker
from ml_platform.services.repairs.reconciliation import finish_operation


class Command(PlatformCommand):
    """It shows what it finds; only with --yes does it replace the marker."""

    help = (
        "Show the marker below the artifacts root, and with --yes replace it by this database's, "
        "so that deletions go on here and stop wherever else it was written."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --yes."""
        parser.add_argument("--yes", action="store_true", help="Replace the marker.")

    def work(self, **options: Any) -> int:
        """Show what is found; returns 0, or raises the reason why it was not confirmed."""
        us = identity()
        self.stdout.write(f"Found at {place()}: {read_marker()}.")
        self.stdout.write(f"This database: installation {us.uid} ({us.name}).")
        if reason := current().stopped_reason:
            self.stdout.write(f"Stopped: {reason}")
        if not options["yes"]:
            self.stdout.write("Nothing was changed. Confirm with --yes.")
            return 0
        operation = perform(CONFIRM, "", None, Caller.system("confirm_installation"))
        operation = finish_operation(operation=operation, clock=database_now)
        if operation.status == OperationStatus.SUCCEEDED:
            self.stdout.write("Confirmed: this database owns the marker.")
            return 0
        waits = operation.status in LIVE_OPERATION_STATUSES
        raise (CloudUnavailable if waits else PlatformError)(
            operation.error, code=operation.error_code, advice=operation.advice
        )
