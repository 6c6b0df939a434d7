"""The few categories every failure falls into; doors map them, rooms raise subclasses of them."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_LONGEST = 10_000
_LONGEST_CODE = 64


def storable(text: str) -> str:
    """Return the text as every database of ours can store it: NUL characters and lone surrogates
    become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def _bounded(text: str) -> str:
    text = storable(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


class PlatformError(Exception):
    """A failure a person can act on: what happened, a stable `code`, `advice` on what to do.

    Its texts can always be stored and printed, whatever was quoted in them.
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
"""The advice where no caller of ours should have got to."""


class Misconfigured(PlatformError):
    """The host's settings are wrong; nothing was started."""

    code = "misconfigured"


class Invalid(PlatformError):
    """The request can never succeed as it stands."""

    code = "invalid"


class Denied(PlatformError):
    """The caller may not do this."""

    code = "denied"


class NotFound(PlatformError):
    """There is no such thing in our database for this caller."""

    code = "not_found"
    advice = "It may have been deleted, or it belongs to a project that you do not see."


class Conflict(PlatformError):
    """The state of the subject forbids this now; someone else may hold it."""

    code = "conflict"


class CloudRejected(PlatformError):
    """Google understood the call and refused it for good; repeating it will not help."""

    code = "cloud_rejected"
    advice = "Repeating it will not help; correct what was refused."


class CloudAbsent(CloudRejected):
    """The service itself answered NOT_FOUND for exactly the name asked for (law 3)."""

    code = "cloud_absent"
    advice = "It may have been deleted; check the name."


class CloudExists(CloudRejected):
    """The name is taken already, perhaps by an earlier try of ours."""

    code = "cloud_exists"
    advice = "Look at it before going on."


class CloudConflict(CloudRejected):
    """The remote thing changed or is in a state that forbids the call: look again, never force."""

    code = "cloud_conflict"
    advice = "Look at it again, then decide."


class CloudUnavailable(PlatformError):
    """No answer that proves anything; nothing was done, so the call may be repeated later."""

    code = "cloud_unavailable"
    advice = "Nothing was changed by this call; try again in a minute."


class CloudThrottled(CloudUnavailable):
    """A quota is used up; `retry_after` is in seconds, 0 when Google named none."""

    code = "cloud_throttled"
    advice = "Wait, or ask for more quota."

    def __init__(
        self, message: str, *, code: str = "", advice: str = "", retry_after: float = 0.0
    ) -> None:
        super().__init__(message, code=code, advice=advice)
        self.retry_after = retry_after


class CloudDenied(CloudUnavailable):
    """Permission, credentials, billing or a disabled API: says nothing about existence."""

    code = "cloud_denied"
    advice = "Check the service account's roles, the credentials and whether the API is enabled."


class OutcomeUnknown(CloudUnavailable):
    """The call may have taken effect although no answer came: look it up first (law 7)."""

    code = "outcome_unknown"
    advice = "It may have happened: look before trying again."
