"""`manage.py localcloud`: run the local cloud for the configured project and location."""

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

    help = "Emulate the Google APIs that the platform uses on this machine, until Ctrl-C."
    needs_cloud = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the program's options; project, location, bucket default to the configured."""
        _program().add_options(parser)
        try:
            current = get_settings()
        except Misconfigured:
            return  # The options have defaults; whatever uses the settings reports the error.
        if current.PROJECT_ID:
            parser.set_defaults(
                project=current.PROJECT_ID, location=current.LOCATION, bucket=current.BUCKET
            )

    def work(self, **options: Any) -> int:
        """Serve until interrupted; returns the exit code of the program."""
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
