"""What the commands of the jobs share: a rehearsal, progress on a terminal, a report."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import CommandParser
from rich.console import Console

from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.system import SET_UP_JOB
from ml_platform.jobs import JOBS, run_job
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor

from .base import UNREADABLE, PlatformCommand


class JobCommand(PlatformCommand):
    """Runs the job of that name."""

    job = ""
    ages = True
    """Whether it takes an age in days."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """A rehearsal, and from which age on."""
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
        if self.ages:
            parser.add_argument("--days", type=days, help="age from which on (ORPHAN_DAYS)")

    def work(self, **options: Any) -> int:
        """Run the job here; exits 2 when something could not be asked."""
        known = {name: options[name] for name in self.options() if options.get(name) is not None}
        console = Console(stderr=True)
        told = 0

        def tell(line: str) -> None:
            nonlocal told
            told += 1
            self.stdout.write(line)
            if status is not None:
                status.update(f"{JOBS[self.job].title}: {told:,}")

        status = console.status(JOBS[self.job].title) if console.is_terminal else None
        if status is not None:
            status.start()
        try:
            report = run_job(
                self.job,
                actor=Actor(label=self.job, origin="command"),
                clock=database_now,
                dry_run=options["dry_run"],
                tell=tell,
                **known,
            )
        finally:
            if status is not None:
                status.stop()
        self.stdout.write(report.output)
        if report.waits:
            self.stderr.write(f"{report.message}: {report.waits}")
        return UNREADABLE if report.unknown or report.waits else 0

    def options(self) -> tuple[str, ...]:
        """The options that are handed to the job."""
        return ("days",) if self.ages else ()


class SetupCommand(PlatformCommand):
    """Has Cloud Scheduler ring the job of that name."""

    job = ""

    def create_parser(self, *arguments: Any, **options: Any) -> CommandParser:
        """Say in the help which job it is."""
        job = JOBS[self.job]
        self.help = f"Have Cloud Scheduler ring {job.name} by {job.cron} in UTC. {job.description}"
        return super().create_parser(*arguments, **options)

    def work(self, **_: Any) -> int:
        """Create or correct the job at Cloud Scheduler."""
        done = perform(SET_UP_JOB, self.job, None, Caller.system(f"setup of {self.job}"))
        self.stdout.write(f"{done.action}: {done.job_name}, {done.schedule} UTC")
        return 0


def days(text: str) -> int:
    """A number of days from 1 on: with 0, what was made this minute would be old."""
    if not text.isdigit() or not 1 <= int(text) <= 36_500:
        raise ArgumentTypeError(f"{text!r} is no number of days from 1 to 36500")
    return int(text)
