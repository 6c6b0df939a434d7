"""The classes of our errors. Pages, API and commands map them; services raise subclasses."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_LONGEST = 10_000
_LONGEST_CODE = 64


def storable(text: str) -> str:
    """Return the text with NUL characters and lone surrogates replaced by U+FFFD.

    PostgreSQL stores neither.
    """
    return _UNSTORABLE.sub("\ufffd", text)


def _bounded(text: str) -> str:
    text = storable(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


class PlatformError(Exception):
    """A failure with a message, a stable `code`, and `advice` on what to do.

    Its texts can be stored and printed: characters that a database refuses are replaced.
    """

    code = "platform_error"
    advice = ""

    def __init__(self, message: str, *, code: str = "", advice: str = "") -> None:
        super().__init__(_bounded(message))
        self.code = storable(code or type(self).code)[:_LONGEST_CODE]
        self.advice = _bounded(advice or type(self).advice)

    @property
    def words(self) -> str:
        """What happened and what to do, as one text."""
        return f"{self} {self.advice}".strip()


DEFECT = "This is a defect of the platform: report it."
"""The advice of an error that only a defect of our code can cause."""


class Misconfigured(PlatformError):
    """The host's settings are wrong; the request was not started."""

    code = "misconfigured"


class Invalid(PlatformError):
    """The request cannot succeed unless it is changed."""

    code = "invalid"


class Denied(PlatformError):
    """The caller may not do this."""

    code = "denied"


class NotFound(PlatformError):
    """Our database has no such row that this caller may see."""

    code = "not_found"
    advice = "It may have been deleted, or it belongs to a project that you cannot see."


class Conflict(PlatformError):
    """The present state of the subject does not allow this; another operation may hold it."""

    code = "conflict"


class CloudRejected(PlatformError):
    """Google refused the call; repeating it does not help."""

    code = "cloud_rejected"
    advice = "Repeating it does not help; correct the request."


class CloudAbsent(CloudRejected):
    """The service answered NOT_FOUND for exactly the requested name.

    Only this proves that a resource is absent (law 3).
    """

    code = "cloud_absent"
    advice = "It may have been deleted; check the name."


class CloudExists(CloudRejected):
    """A resource of that name exists, perhaps from an earlier attempt."""

    code = "cloud_exists"
    advice = "Check the existing resource first."


class CloudConflict(CloudRejected):
    """The resource has changed or is in the wrong state: read it again before another attempt."""

    code = "cloud_conflict"
    advice = "Read its present state, then decide."


class CloudUnavailable(PlatformError):
    """The answer was inconclusive and the call had no effect: it may be repeated."""

    code = "cloud_unavailable"
    advice = "Nothing was changed by this call; try again in a minute."


class CloudThrottled(CloudUnavailable):
    """A quota is used up; `retry_after` is in seconds, 0 if Google gave none."""

    code = "cloud_throttled"
    advice = "Wait, or request more quota."

    def __init__(
        self, message: str, *, code: str = "", advice: str = "", retry_after: float = 0.0
    ) -> None:
        super().__init__(message, code=code, advice=advice)
        self.retry_after = retry_after


class CloudDenied(CloudUnavailable):
    """Permission, credentials, billing or a disabled API: it does not prove what exists."""

    code = "cloud_denied"
    advice = (
        "Check the service account's roles, the credentials, billing and whether the API is "
        "enabled. It is unknown what exists."
    )


class OutcomeUnknown(CloudUnavailable):
    """The call may have had its effect although there was no answer.

    Search for the effect before another attempt, or it may happen twice (law 7).
    """

    code = "outcome_unknown"
    advice = "It may have happened: check before you try again."
