"""The base class of our commands: one clear sentence for a failure, and its exit code."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import ProgrammingError

from ml_platform.checks import check_settings
from ml_platform.errors import CloudUnavailable, Misconfigured, PlatformError
from ml_platform.guard import DATABASE_FAILURES

FAILED = 1
UNREADABLE = 2
"""Exit code when Google gave no usable answer: permission, quota, timeout, no connection."""


class PlatformCommand(BaseCommand, ABC):
    """A command whose `work` returns its exit code and may raise PlatformError.

    The settings are checked first, so that nothing is half done when they are wrong. Only our own
    checks run: Django prints all of them as a report, which would hide our one sentence.
    """

    requires_system_checks = []
    needs_cloud = True
    """Whether it uses Google Cloud, so that the settings in ML_PLATFORM must be valid."""

    @abstractmethod
    def work(self, **options: Any) -> int:
        """Do the work; returns the exit code."""

    def handle(self, *_: Any, **options: Any) -> None:
        """Run `work` and end the process with its exit code.

        :raises CommandError: with exit code 2 when Google gave no usable answer, otherwise 1.
        """
        try:
            if self.needs_cloud:
                _require_good_settings()
            code = self.work(**options)
        except PlatformError as error:
            raise command_error(error) from error
        except (*DATABASE_FAILURES, ProgrammingError) as error:
            raise CommandError(
                f"The database failed: {error}. Is it up, and was `manage.py migrate` run?"
            ) from error
        except KeyboardInterrupt:
            self.stderr.write("Interrupted.")
            code = 130
        if code:
            sys.exit(code)


def _require_good_settings() -> None:
    heard = (message for message in check_settings() if not message.is_silenced())
    wrong = next((message for message in heard if message.is_serious()), None)
    if wrong is not None:
        raise Misconfigured(wrong.msg, advice=wrong.hint or "")


def add_project_option(parser: ArgumentParser, what: str) -> None:
    """Add `--project`, which `services.access.scope.find_named_project` reads."""
    parser.add_argument(
        "--project",
        metavar="NAME",
        help=f"{what}, by its key or its name; a name that several have is refused.",
    )


def number_of(what: str, most: int) -> Callable[[str], int]:
    """Return the type of an option that is a number from 1 to `most`."""

    def read(text: str) -> int:
        if not text.isdigit() or not 1 <= int(text) <= most:
            raise ArgumentTypeError(f"{text!r} is not a number of {what} from 1 to {most}")
        return int(text)

    return read


def command_error(error: PlatformError) -> CommandError:
    """Return the error for the terminal: what happened, then what to do."""
    code = UNREADABLE if isinstance(error, CloudUnavailable) else FAILED
    return CommandError(" ".join(filter(None, (str(error), error.advice))), returncode=code)
