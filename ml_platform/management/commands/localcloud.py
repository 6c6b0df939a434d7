"""`manage.py localcloud`: the local cloud as a program, for the project that the settings name."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from django.core.management.base import CommandParser

from ml_platform.conf import get_settings
from ml_platform.errors import Misconfigured
from ml_platform.management.base import PlatformCommand


class Command(PlatformCommand):
    """The options are those of `python -m ml_platform.localcloud`."""

    help = "Run the Google APIs that we use on this machine, until Ctrl-C."
    needs_cloud = False

    def add_arguments(self, parser: CommandParser) -> None:
        """The program's own options; project and location are the configured ones."""
        from ml_platform.localcloud.__main__ import add_options

        add_options(parser)
        try:
            current = get_settings()
        except Misconfigured:
            return  # what is wrong is said by whatever uses them; these have defaults of their own
        if current.PROJECT_ID:
            parser.set_defaults(project=current.PROJECT_ID, location=current.LOCATION)

    def work(self, **options: Any) -> int:
        """Serve, and answer as the program does."""
        from ml_platform.localcloud.__main__ import serve

        return serve(Namespace(**options))
