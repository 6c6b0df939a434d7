"""Whether a step that met an error is tried again, and when; decided by the error's category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from ml_platform.errors import (
    CloudConflict,
    CloudDenied,
    CloudThrottled,
    CloudUnavailable,
    PlatformError,
)

from .workflow import Step

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 300.0
PATIENCE = timedelta(hours=24)
"""How long an operation may meet no usable answer before it fails and asks for a person."""
TRIES: Mapping[type[PlatformError], int] = {CloudDenied: 5, CloudConflict: 5}
"""How often these are met before the operation fails; other temporary errors until PATIENCE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDecision:
    """What to do about a step's error: fail, or try `step` again after `pause` seconds."""

    fail: bool
    step: str = ""
    pause: float = 0.0


def decide_retry(
    *, error: PlatformError, step: Step, attempts: int, age: timedelta, spread: float
) -> RetryDecision:
    """Decide about an error. `attempts` counts this step's tries before; `spread` is in [0, 1)."""
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempts) * (0.5 + spread / 2)
    if isinstance(error, CloudThrottled):
        pause = max(pause, error.retry_after)
    tries = next((n for category, n in TRIES.items() if isinstance(error, category)), None)
    temporary = tries is not None or isinstance(error, CloudUnavailable)
    if not temporary or age > PATIENCE or (tries is not None and attempts >= tries):
        return RetryDecision(fail=True)
    return RetryDecision(fail=False, step=step.probe or step.name, pause=pause)
