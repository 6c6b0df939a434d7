"""What the window's tests share: changed limits, and an ear for each call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ml_platform.cloud.transport import channels


@pytest.fixture
def limits(settings: Any) -> Callable[..., None]:
    """`limits(CALL_TIMEOUT=0.2)`: change some of ML_PLATFORM for this test."""

    def change(**values: Any) -> None:
        settings.ML_PLATFORM = {**settings.ML_PLATFORM, **values}

    return change


@pytest.fixture
def observed() -> Iterator[list[str]]:
    """The names of the methods that were called, as an observer hears them."""
    heard: list[str] = []
    channels.before_call.append(heard.append)
    yield heard
    channels.before_call.remove(heard.append)
