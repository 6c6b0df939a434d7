"""`manage.py localcloud`: the local cloud as a program, for the project that the settings name."""

from __future__ import annotations

from argparse import Namespace
from types import ModuleType
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ml_platform.conf import get_settings
from ml_platform.errors import Misconfigured
from ml_platform.management.base import PlatformCommand


class Command(PlatformCommand):
    """The options are those of `python -m ml_platform.localcloud`."""

    help = "Run the Google APIs that we use on this machine, until Ctrl-C."
    needs_cloud = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the program's options; project and location default to the configured ones."""
        _program().add_options(parser)
        try:
            current = get_settings()
        except Misconfigured:
            return  # the defaults of the program stay; a command that needs the settings reports it
        if current.PROJECT_ID:
            parser.set_defaults(project=current.PROJECT_ID, location=current.LOCATION)

    def work(self, **options: Any) -> int:
        """Serve until Ctrl-C; returns the program's exit code."""
        code: int = _program().serve(Namespace(**options))
        return code


def _program() -> ModuleType:
    try:
        from ml_platform.localcloud import __main__ as program
    except ModuleNotFoundError as error:
        raise CommandError(
            f"The local cloud needs {error.name}. Run: pip install 'django-ml-platform[localcloud]'"
        ) from error
    return program
