"""Who may steer the cloud by HTTP: programs and the cloud's own page, but no other web page."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from .http_types import HttpError, Request


def check_same_origin(request: Request) -> None:
    """HTTP 403 for a browser that another site sent here, also by a name bound to our address."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    foreign = origin not in (None, request.base_url) or site not in ("same-origin", "none")
    if foreign or not _is_ours(urlsplit(request.base_url).hostname or ""):
        raise HttpError(403, "forbidden", "Only the local cloud's own pages may do this.")


def _is_ours(host: str) -> bool:
    """An address, localhost, or a name without a dot (a container's)."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host
    return True
