"""The HTTP status of each category of failure, for the API and the pages alike."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from .errors import (
    CloudRejected,
    CloudThrottled,
    CloudUnavailable,
    Conflict,
    Denied,
    Invalid,
    Misconfigured,
    NotFound,
    PlatformError,
)
from .guard import DatabaseAway, LengthRequired, Unreadable

STATUS: Mapping[type[PlatformError], int] = {
    Unreadable: 400,
    Denied: 403,
    NotFound: 404,
    Conflict: 409,
    LengthRequired: 411,
    Invalid: 422,
    CloudThrottled: 429,
    Misconfigured: 500,
    PlatformError: 500,
    CloudRejected: 502,
    CloudUnavailable: 503,
    DatabaseAway: 503,
}
"""From a category to its status; a subclass has its nearest parent's."""

_PHRASES = {413: "Request Entity Too Large", 422: "Unprocessable Entity"}
"""Python 3.13 names them as RFC 9110 does; a contract does not change with its Python."""


def phrase_of(status: int) -> str:
    """The words of a status, such as Not Found for 404."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


def status_of(error: PlatformError, table: Mapping[type[PlatformError], int] = STATUS) -> int:
    """The status of an error's nearest category."""
    return next(table[parent] for parent in type(error).__mro__ if parent in table)
