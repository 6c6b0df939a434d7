"""`manage.py import_platform`: bring the rows of the host's own tables into ours."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.system import IMPORT, ImportRequest
from ml_platform.management.base import FAILED, UNREADABLE, PlatformCommand
from ml_platform.management.report import SHOWN, make_console
from ml_platform.services.importing.context import Entry, Outcome
from ml_platform.services.importing.mapping import load_mapping
from ml_platform.text import counted

TONES = {Outcome.IMPORTED: "green", Outcome.REFUSED: "red", Outcome.WAITS: "yellow"}
WORDS = {
    Outcome.IMPORTED: ("imported", "would come"),
    Outcome.PRESENT: ("here already", "here already"),
    Outcome.LEFT_OUT: ("left out", "left out"),
    Outcome.WAITS: ("waits", "waits"),
    Outcome.REFUSED: ("refused", "refused"),
}
"""Of an import, and of one that would be made."""


class Command(PlatformCommand):
    help = (
        "Bring the rows of the host's own tables into ours, as a mapping file says and as far as "
        "Google Cloud agrees, ask for confirmation, and take over labels, jobs and services. It "
        "may run again. Exits 0, 1 when rows were refused, or 2 when rows wait."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add our options."""
        parser.add_argument(
            "--map",
            required=True,
            metavar="FILE",
            help="The mapping: a TOML file, or the name of a ready one (b2b_recs).",
        )
        parser.add_argument("--dry-run", action="store_true", help="Change nothing.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")
        parser.add_argument("--json", action="store_true", help="Write the report as JSON.")

    def work(self, **options: Any) -> int:
        """Show what would come, ask, and bring it."""
        asks = not (options["yes"] or options["dry_run"])
        if asks and (options["json"] or not sys.stdin.isatty()):
            raise CommandError("There is no terminal to confirm on: give --yes or --dry-run.")
        mapping = load_mapping(options["map"])
        caller = Caller.system("import_platform")
        entries: list[Entry] = []
        if not options["yes"]:
            entries = perform(IMPORT, "", ImportRequest(mapping=mapping, write=False), caller)
            if asks or not options["json"]:
                print_report(make_console(self.stdout), entries, is_plan=True)
        if options["yes"] or (asks and self._confirmed(entries)):
            entries = perform(IMPORT, "", ImportRequest(mapping=mapping, write=True), caller)
            if not options["json"]:
                print_report(make_console(self.stdout), entries, is_plan=False)
        if options["json"]:
            self.stdout.write(json_report(entries, is_plan=options["dry_run"]))
        return exit_code(entries)

    def _confirmed(self, entries: Sequence[Entry]) -> bool:
        coming = sum(entry.outcome == Outcome.IMPORTED for entry in entries)
        self.stdout.write(f"Import {counted(coming, 'row')}? [y/N] ", ending="")
        self.stdout.flush()
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return True
        self.stdout.write("Nothing was changed.\n")
        return False


def exit_code(entries: Sequence[Entry]) -> int:
    """Return 1 when a person has to change something, 2 when rows wait, otherwise 0."""
    outcomes = {entry.outcome for entry in entries}
    if Outcome.REFUSED in outcomes:
        return FAILED
    return UNREADABLE if Outcome.WAITS in outcomes else 0


def print_report(console: Console, entries: Sequence[Entry], *, is_plan: bool) -> None:
    """Print the numbers of each table, then the rows that say something: those that did not come
    first, and not all of many."""
    _print_counts(console, entries, is_plan)
    told = sorted((e for e in entries if e.why), key=lambda e: -list(Outcome).index(e.outcome))
    rows = Table("Table", "Key", "Name", "Outcome", "Why", title="Rows", title_justify="left")
    for entry in told[:SHOWN]:
        word = WORDS[entry.outcome][is_plan]
        tone = TONES.get(entry.outcome)
        cells = (entry.kind, entry.key, escape(entry.name), f"[{tone}]{word}[/]" if tone else word)
        rows.add_row(*cells, escape(entry.why))
    if told:
        console.print(rows)
    if len(told) > SHOWN:
        console.print(f"… and {len(told) - SHOWN:,} more; --json lists them all.")


def _print_counts(console: Console, entries: Sequence[Entry], is_plan: bool) -> None:  # noqa: FBT001
    title = "What would come" if is_plan else "What came"
    heads = [words[is_plan] for words in WORDS.values()]
    table = Table("Table", *map(str.capitalize, heads), title=title, title_justify="left")
    numbers = Counter((entry.kind, entry.outcome) for entry in entries)
    for kind in dict.fromkeys(entry.kind for entry in entries):
        table.add_row(kind + "s", *(f"{numbers[kind, outcome]:,}" for outcome in WORDS))
    console.print(table)


def json_report(entries: Sequence[Entry], *, is_plan: bool) -> str:
    """Return the report as one JSON object."""
    numbers = Counter(entry.outcome for entry in entries)
    report = {
        "dry_run": is_plan,
        "exit_code": exit_code(entries),
        "counts": {outcome.value: numbers[outcome] for outcome in Outcome},
        "rows": [asdict(entry) for entry in entries],
    }
    return json.dumps(report, ensure_ascii=False, indent=1)
