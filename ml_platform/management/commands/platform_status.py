"""`manage.py platform_status`: whether the platform can work, and what a person has to do."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.system import STATUS
from ml_platform.api.schemas.system import status_json
from ml_platform.management.base import FAILED, UNREADABLE, PlatformCommand
from ml_platform.management.report import make_console
from ml_platform.status import State, Status

EXIT_CODES: Mapping[State, int] = {
    State.FINE: 0,
    State.ATTENTION: FAILED,
    State.UNKNOWN: UNREADABLE,
}
WORDS: Mapping[State, str] = {
    State.FINE: "[green]fine[/]",
    State.ATTENTION: "[red]attention[/]",
    State.UNKNOWN: "[yellow]unknown[/]",
    State.UNUSED: "[dim]not used[/]",
}
VERDICTS: Mapping[State, str] = {
    State.FINE: "[green]All is well.[/]",
    State.ATTENTION: "[red]Something needs a person.[/]",
    State.UNKNOWN: "[yellow]Something could not be read, so it is unknown.[/]",
}


class Command(PlatformCommand):
    """It shows wrong settings instead of ending at them."""

    help = (
        "Show the state of settings, database, credentials, Google's APIs, workers, sweeps and "
        "scheduled jobs. Exits 0 when all is well, 1 when something needs a person, 2 when only "
        "something could not be read."
    )
    needs_cloud = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --json."""
        parser.add_argument("--json", action="store_true", help="Print what the API answers.")

    def work(self, **options: Any) -> int:
        """Read the status, and show it."""
        status = perform(STATUS, "", "live", Caller.system("platform_status"))
        if options["json"]:
            self.stdout.write(json.dumps(status_json(status), indent=1))
        else:
            _print(make_console(self.stdout), status)
        return EXIT_CODES[status.state]


def _print(console: Console, status: Status) -> None:
    table = Table("What", "State", "Details")
    for item in status.items:
        details = f"{item.detail} {item.advice}".strip()
        table.add_row(item.title, WORDS[item.state], escape(details))
    console.print(table)
    console.print(VERDICTS[status.state])
