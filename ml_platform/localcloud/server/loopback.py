"""Whom the cloud answers: programs on this machine and its own pages, by this machine's own names.

It gives a token to every caller. A web page that bound its own name to our address (DNS rebinding)
could read our answers as if they were its own; the host name in its requests reveals it.
"""

from __future__ import annotations

import ipaddress
import re
from email.message import Message
from urllib.parse import urlsplit

from .http_types import HttpError

ADDRESS = "127.0.0.1"
"""The only address the cloud listens on."""
NAMES = "localhost, *.localhost, 127.0.0.0/8 and ::1"
# Where Google's clients look for the metadata server, for a machine that leads these names to us.
_METADATA = ("metadata.google.internal", "metadata", "169.254.169.254")

_AUTHORITY = re.compile(
    r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]*)?", re.ASCII | re.IGNORECASE
)


def is_loopback(authority: str) -> bool:
    """Whether `host` or `host:port` can only be this machine."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return False
    host = (match["six"] or match["name"]).lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_request(
    *, verb: str, target: str, version: str, headers: Message, over_tls: bool = False
) -> None:
    """Raise HttpError for a request to another host, or one that another web page makes.

    Over TLS the cloud answers for Google's own hosts too: only who trusts its certificate asks so.
    """
    hosts = headers.get_all("Host", [])
    if len(hosts) > 1 or (not hosts and version not in ("HTTP/0.9", "HTTP/1.0")):
        raise HttpError(400, "badRequest", "A request has exactly one Host header.")
    try:
        named = urlsplit(target).netloc
    except ValueError as error:
        raise HttpError(
            400, "badRequest", f"The request's target is not a URL: {error}."
        ) from error
    for authority in (*hosts, named) if named else hosts:
        ours = is_loopback(authority) or (over_tls and is_google(authority))
        if not ours and not _is_metadata(authority, target, headers):
            raise HttpError(403, "forbidden", refusal(authority))
    _check_same_origin(verb, hosts, headers)


def is_google(authority: str) -> bool:
    """Whether `host` or `host:port` is one of Google's APIs."""
    return authority.partition(":")[0].lower().endswith(".googleapis.com")


def _is_metadata(authority: str, target: str, headers: Message) -> bool:
    """Whether a program asks the metadata server: no page can send its header unasked."""
    at_metadata = target == "/" or target.startswith("/computeMetadata/")
    asked = authority.lower().removesuffix(":80") in _METADATA
    return asked and at_metadata and headers.get("Metadata-Flavor") == "Google"


def refusal(authority: str) -> str:
    """The message for a request to a host that is not this machine."""
    return f"The local cloud answers to {NAMES} only, not to {authority!r}."


def _check_same_origin(verb: str, hosts: list[str], headers: Message) -> None:
    ours = {f"http://{host}".lower() for host in hosts}
    origins = {origin.lower() for origin in headers.get_all("Origin", [])}
    followed = headers.get("Sec-Fetch-Mode", "navigate") == "navigate" and verb in ("GET", "HEAD")
    site = headers.get("Sec-Fetch-Site", "none")
    foreign = site not in ("same-origin", "none") and not followed
    if foreign or not origins <= ours:
        raise HttpError(403, "forbidden", "No other web page may use the local cloud.")
