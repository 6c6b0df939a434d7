"""The few categories every failure falls into; doors map them, rooms raise subclasses of them."""

from __future__ import annotations


class PlatformError(Exception):
    """A failure a person can act on: what happened, a stable `code`, `advice` on what to do."""

    code = "platform_error"
    advice = ""

    def __init__(self, message: str, *, code: str = "", advice: str = "") -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.advice = advice or type(self).advice


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


class Conflict(PlatformError):
    """The state of the subject forbids this now; someone else may hold it."""

    code = "conflict"


class CloudRejected(PlatformError):
    """Google understood the call and refused it for good; repeating it will not help."""

    code = "cloud_rejected"


class CloudAbsent(CloudRejected):
    """The service itself answered NOT_FOUND for exactly the name asked for (law 3)."""

    code = "cloud_absent"


class CloudExists(CloudRejected):
    """The name is taken already, perhaps by an earlier try of ours."""

    code = "cloud_exists"


class CloudConflict(CloudRejected):
    """The remote thing changed or is in a state that forbids the call: look again, never force."""

    code = "cloud_conflict"


class CloudUnavailable(PlatformError):
    """No answer that proves anything; nothing was done, so the call may be repeated later."""

    code = "cloud_unavailable"


class CloudThrottled(CloudUnavailable):
    """A quota is used up; `retry_after` is in seconds, 0 when Google named none."""

    code = "cloud_throttled"

    def __init__(
        self, message: str, *, code: str = "", advice: str = "", retry_after: float = 0.0
    ) -> None:
        super().__init__(message, code=code, advice=advice)
        self.retry_after = retry_after


class CloudDenied(CloudUnavailable):
    """Permission, credentials, billing or a disabled API: says nothing about existence."""

    code = "cloud_denied"


class OutcomeUnknown(CloudUnavailable):
    """The call may have taken effect although no answer came: look it up first (law 7)."""

    code = "outcome_unknown"
