"""The base classes of the commands that run and set up the platform's jobs."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from itertools import count
from typing import Any

from django.core.management.base import CommandParser
from rich.console import Console

from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.system import SET_UP_JOB
from ml_platform.jobs import JOBS, run_job
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor

from .base import UNREADABLE, PlatformCommand, number_of

OPTIONS: Mapping[str, dict[str, Any]] = {
    "dry_run": {"action": "store_true", "help": "only show what would be done"},
    # With 0 days everything would count as old.
    "days": {"type": number_of("days", 36_500), "help": "minimum age in days"},
    "include_registered": {
        "action": "store_true",
        "help": "also delete those of runs whose version was lost, after checking Vertex AI; "
        "never those of a version",
    },
    "delete_strays": {
        "action": "store_true",
        "help": "also delete folders that belong to no run",
    },
}
"""The options of all jobs."""


class JobCommand(PlatformCommand):
    """Runs the job that is named in `job`, with those of `OPTIONS` that are named in `options`."""

    job = ""
    options: tuple[str, ...] = ("dry_run", "days")

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the job's options."""
        for name in self.options:
            parser.add_argument(f"--{name.replace('_', '-')}", **OPTIONS[name])

    def work(self, **options: Any) -> int:
        """Run the job in this process; returns 2 when Google could not be asked about something."""
        given = {name: options[name] for name in self.options if options[name] is not None}
        title, lines = JOBS[self.job].title, count(1)
        with Console(stderr=True).status(title) as status:

            def write_line(line: str) -> None:
                self.stdout.write(line)
                status.update(f"{title}: {next(lines):,}")

            report = run_job(
                self.job,
                actor=Actor(label=self.job, origin="command"),
                clock=database_now,
                write_line=write_line,
                **given,
            )
        self.stdout.write(report.output)
        if report.waits:
            self.stderr.write(f"{report.message}: {report.waits}")
        return UNREADABLE if report.unknown or report.waits else 0


class SetupCommand(PlatformCommand):
    """Creates, updates or resumes the Cloud Scheduler job that calls our job."""

    job = ""

    def create_parser(self, *arguments: Any, **options: Any) -> CommandParser:
        """Set the help text to the job's name and schedule."""
        job = JOBS[self.job]
        self.help = f"Have Cloud Scheduler call {job.name} at {job.cron} UTC. {job.description} "
        self.help += "A job that somebody paused is resumed."
        return super().create_parser(*arguments, **options)

    def work(self, **_: Any) -> int:
        """Create, update or resume the job in Cloud Scheduler."""
        done = perform(SET_UP_JOB, self.job, None, Caller.system(f"setup of {self.job}"))
        self.stdout.write(f"{done.action}: {done.job_name}, {done.schedule} UTC")
        return 0
