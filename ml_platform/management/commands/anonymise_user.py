"""`manage.py anonymise_user`: replace the name of a person who left in the history."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from ml_platform.management.base import PlatformCommand
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor
from ml_platform.services.people.anonymisation import anonymise_user


class Command(PlatformCommand):
    help = (
        "Replace the name of a user in operations, events, approvals, findings and sweeps by a "
        "pseudonym. It cannot be undone."
    )
    needs_cloud = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add our options."""
        parser.add_argument("login", help="what they logged in with; the account may be deleted")
        parser.add_argument("--dry-run", action="store_true", help="only count the rows")

    def work(self, **options: Any) -> int:
        """Count the rows, and replace the name in them."""
        pseudonym, counts = anonymise_user(
            login=options["login"],
            actor=Actor(label="anonymise_user", origin="command"),
            now=database_now(),
            dry_run=options["dry_run"],
        )
        for table, number in counts.items():
            self.stdout.write(f"{table}: {number:,}")
        if not counts:
            self.stdout.write("No row has that name.")
        elif options["dry_run"]:
            self.stdout.write(f"They would name {pseudonym}. Nothing was changed.")
        else:
            self.stdout.write(f"They name {pseudonym} now.")
        return 0
