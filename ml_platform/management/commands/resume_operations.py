"""`manage.py resume_operations`: continue operations of a dead worker or a lost task."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ml_platform.management.base import PlatformCommand, number_of
from ml_platform.models.clock import database_now
from ml_platform.models.states import OperationStatus
from ml_platform.services.events.hooks import send_due
from ml_platform.services.operations.worker import resume_operations


class Command(PlatformCommand):
    """Safe to run at any time: an operation that another worker holds is not touched.

    It also sends the signals that a worker which ended has left.
    """

    help = "Continue every operation that is due and that no worker holds."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --limit."""
        parser.add_argument(
            "--limit",
            type=number_of("operations", 1_000_000),
            default=1000,
            help="maximum number of operations (default: 1000)",
        )

    def work(self, **options: Any) -> int:
        """Print the outcome of each; returns 1 when one of them failed."""
        moved = resume_operations(clock=database_now, limit=options["limit"])
        send_due()
        for operation in moved:
            error = f": {operation.error}" if operation.error else ""
            status = operation.get_status_display().lower()
            self.stdout.write(f"{operation.pk} {operation} is {status}{error}")
        failed = sum(operation.status == OperationStatus.FAILED for operation in moved)
        self.stdout.write(f"{len(moved)} continued, {failed} of them failed.")
        return 1 if failed else 0
