"""The ETag preconditions, If-Match and If-None-Match, on reads, writes and deletes.

After cloud.google.com/storage/docs/request-preconditions and RFC 9110, section 13.1.
"""

from __future__ import annotations

from ...server.http_types import HttpError, Request

NOT_MET = "At least one of the pre-conditions you specified did not hold."
HEADERS = ("if-match", "if-none-match")


def check_etag(request: Request, etag: str, *, read: bool) -> None:
    """Hold a request to its ETags; `etag` is '' where there is nothing yet.

    Raises HttpError 412, or 304 where a read has what If-None-Match named.
    """
    wanted, unwanted = (request.headers.get(header) for header in HEADERS)
    if wanted is not None and not _names(wanted, etag):
        raise HttpError(412, "conditionNotMet", NOT_MET)
    if unwanted is not None and _names(unwanted, etag):
        raise HttpError(304 if read else 412, "conditionNotMet", NOT_MET)


def _names(header: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    return bool(etag) and ("*" in tags or etag in tags)
