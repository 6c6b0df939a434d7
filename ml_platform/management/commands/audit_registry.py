"""`manage.py audit_registry`: read the planes and show where they disagree."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.system import SWEEP
from ml_platform.management.base import UNREADABLE, PlatformCommand, add_project_option
from ml_platform.management.report import (
    EXIT_CODES,
    json_audit,
    make_console,
    one_snapshot,
    print_audit,
)
from ml_platform.models import Sweep
from ml_platform.services.access.scope import find_named_project
from ml_platform.services.sweeps import audit


class Command(PlatformCommand):
    help = (
        "Read all planes, store the result, and show the counts, both tables and the findings. "
        "Exits 0 when the planes agree, 1 when they differ, 2 when one could not be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add our options."""
        parser.add_argument("--format", choices=("table", "json"), default="table")
        add_project_option(parser, "Show this project only")

    def work(self, **options: Any) -> int:
        """Sweep, then show the result."""
        name = options["project"]
        project = find_named_project(name) if name else None
        done = perform(SWEEP, "", None, Caller.system("audit_registry"))
        if options["format"] == "table":
            require_any_plane(done)
        with one_snapshot(self.stdout) as out:
            if options["format"] == "json":
                out.writelines(json_audit(done, project))
            else:
                print_audit(make_console(self.stdout, out), done, project)
            return EXIT_CODES[audit.compare_sweep(done, project=project)]


def require_any_plane(done: Sweep) -> None:
    """Fail with one sentence instead of empty tables when no plane could be read.

    :raises CommandError: no plane could be read.
    """
    if any(plane["read"] for plane in done.planes.values()):
        return
    reason = done.planes["vertex"]["reason"]
    raise CommandError(
        f"No plane could be read, so nothing is concluded. {reason}", returncode=UNREADABLE
    )
