"""Django system checks: the settings of the app, and what it needs of its host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from ml_platform.conf import get_settings
from ml_platform.errors import Misconfigured

from . import host, settings


@register("ml_platform")
def check_settings(app_configs: object = None, **_: Any) -> list[CheckMessage]:
    """All errors in ML_PLATFORM and in the host; of ML_PLATFORM only E001 if it cannot be read."""
    asked = [message for rule in host.RULES for message in rule()]
    try:
        current = get_settings()
    except Misconfigured as error:
        return [Error(str(error), hint=error.advice, id="mlp.E001"), *asked]
    return [message for rule in settings.RULES for message in rule(current)] + asked


@register(Tags.database)
def check_counters(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Whether each of these databases that has our tables has our triggers."""
    from . import counters

    return [message for alias in databases or () for message in counters.missing(alias)]
