"""What all our commands share: one clear sentence for a failure, and an exit code that means it."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import ProgrammingError

from ml_platform.checks import check_settings
from ml_platform.errors import CloudUnavailable, Misconfigured, PlatformError
from ml_platform.guard import DATABASE_FAILURES

FAILED = 1
UNREADABLE = 2
"""Google gave no answer that proves anything: permission, quota, time-out, no connection."""


class PlatformCommand(BaseCommand, ABC):
    """A command whose `work` returns its exit code and may raise PlatformError.

    The settings are checked before anything else, so nothing is half done when they are wrong. Of
    Django's checks only ours run: all of them would bury the sentence in a report.
    """

    requires_system_checks = []
    needs_cloud = True
    """Whether it works with what ML_PLATFORM names, so that this has to be right."""

    @abstractmethod
    def work(self, **options: Any) -> int:
        """Do it; returns the exit code."""

    def handle(self, *_: Any, **options: Any) -> None:
        """Run `work` and end the process as it says.

        :raises CommandError: with exit code 2 when Google could not be asked, else 1.
        """
        try:
            if self.needs_cloud:
                _require_good_settings()
            code = self.work(**options)
        except PlatformError as error:
            raise command_error(error) from error
        except (*DATABASE_FAILURES, ProgrammingError) as error:
            raise CommandError(
                f"The database refused: {error}. Is it up, and did `manage.py migrate` run?"
            ) from error
        except KeyboardInterrupt:
            self.stderr.write("Interrupted.")
            code = 130
        if code:
            sys.exit(code)


def _require_good_settings() -> None:
    wrong = next((message for message in check_settings() if message.is_serious()), None)
    if wrong is not None:
        raise Misconfigured(wrong.msg, advice=wrong.hint or "")


def command_error(error: PlatformError) -> CommandError:
    """The failure as a terminal says it: what happened, then what to do."""
    code = UNREADABLE if isinstance(error, CloudUnavailable) else FAILED
    return CommandError(" ".join(filter(None, (str(error), error.advice))), returncode=code)
