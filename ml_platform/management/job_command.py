"""The base classes of the commands that run and set up the platform's jobs."""

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
    """Runs the job that is named in `job`."""

    job = ""
    ages = True
    """Whether it has the option --days."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --dry-run, and --days if the job has an age."""
        parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
        if self.ages:
            parser.add_argument("--days", type=days, help="minimum age in days (ORPHAN_DAYS)")

    def work(self, **options: Any) -> int:
        """Run the job in this process; returns 2 when Google could not be asked about something."""
        known = {name: options[name] for name in self.options() if options.get(name) is not None}
        console = Console(stderr=True)
        lines = 0

        def tell(line: str) -> None:
            nonlocal lines
            lines += 1
            self.stdout.write(line)
            if status is not None:
                status.update(f"{JOBS[self.job].title}: {lines:,}")

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
        """Return the options that are passed to the job."""
        return ("days",) if self.ages else ()


class SetupCommand(PlatformCommand):
    """Creates or updates the Cloud Scheduler job that calls our job."""

    job = ""

    def create_parser(self, *arguments: Any, **options: Any) -> CommandParser:
        """Set the help text to the job's name and schedule."""
        job = JOBS[self.job]
        self.help = f"Have Cloud Scheduler call {job.name} at {job.cron} UTC. {job.description}"
        return super().create_parser(*arguments, **options)

    def work(self, **_: Any) -> int:
        """Create or update the job in Cloud Scheduler."""
        done = perform(SET_UP_JOB, self.job, None, Caller.system(f"setup of {self.job}"))
        self.stdout.write(f"{done.action}: {done.job_name}, {done.schedule} UTC")
        return 0


def days(text: str) -> int:
    """Parse a number of days of at least 1: with 0, everything would count as old."""
    if not text.isdigit() or not 1 <= int(text) <= 36_500:
        raise ArgumentTypeError(f"{text!r} is not a number of days from 1 to 36500")
    return int(text)
