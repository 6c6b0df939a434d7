"""How the XML API answers: its errors and its listings.

After cloud.google.com/storage/docs/xml-api/reference-status and .../xml-api/get-bucket-list.
"""

from __future__ import annotations

import json
from typing import Any
from xml.sax.saxutils import escape

from ...server.http_types import HttpError, Reply

_TYPE = "application/xml; charset=UTF-8"
_HEAD = "<?xml version='1.0' encoding='UTF-8'?>"
_NO_BUCKET = "The specified bucket does not exist."
# A status, its code and its message.
_ERRORS = {
    400: ("InvalidArgument", "Invalid argument."),
    401: ("AuthenticationRequired", "Authentication required."),
    403: ("AccessDenied", "Access denied."),
    404: ("NoSuchKey", "The specified key does not exist."),
    405: ("MethodNotAllowed", "The specified method is not allowed against this resource."),
    412: (
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold.",
    ),
    413: ("EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size."),
    416: ("InvalidRange", "The requested range cannot be satisfied."),
    429: ("SlowDown", "Please reduce your request rate."),
    501: (
        "NotImplemented",
        "A header or query you provided requested a function that is not implemented.",
    ),
    503: ("ServiceUnavailable", "Service unavailable. Please try again."),
}
_OTHER = ("InternalError", "We encountered an internal error. Please try again.")
_MESSAGES = {
    "NoSuchBucket": _NO_BUCKET,
    "ExpiredToken": "The provided token has expired.",
    "MalformedSecurityHeader": "Your request has a malformed header.",
    "InvalidSecurity": "The provided security credentials are not valid.",
    "SignatureDoesNotMatch": "The request signature we calculated does not match the signature "
    "you provided. Check your Google secret key and signing method.",
    "BadDigest": "The checksum you specified did not match what we received.",
    "EntityTooSmall": "Your proposed upload is smaller than the minimum object size specified in "
    "your Policy Document.",
}


def refusal(error: HttpError) -> Reply:
    """An error of the XML API; the reason of the HttpError is its code."""
    return _error(error.http_status, error.message, error.reason)


def converted(reply: Reply) -> Reply:
    """The error of a JSON call as one of the XML API."""
    if reply.status < 400 or reply.broken is not None:
        return reply
    message = _message(reply.body)
    code = "NoSuchBucket" if message == _NO_BUCKET else ""
    return _error(reply.status, message, code)


def listing(bucket: str, asked: dict[str, str], found: dict[str, Any]) -> Reply:
    """A page of objects; `asked` are the elements that repeat the request."""
    items = [_contents(item) for item in found.get("items", ())]
    folders = [
        f"<CommonPrefixes>{_element('Prefix', one)}</CommonPrefixes>"
        for one in found.get("prefixes", ())
    ]
    repeated = {"Name": bucket, **asked}
    parts = [_element(name, text) for name, text in repeated.items()] + items + folders
    inside = "".join(parts)
    space = "http://doc.s3.amazonaws.com/2006-03-01"
    return _reply(200, f"<ListBucketResult xmlns='{space}'>{inside}</ListBucketResult>")


def _contents(item: dict[str, Any]) -> str:
    values = {
        "Key": item["name"],
        "Generation": item["generation"],
        "MetaGeneration": item["metageneration"],
        "LastModified": item["updated"],
        "ETag": f'"{item["etag"]}"',
        "Size": item["size"],
        "StorageClass": item["storageClass"],
    }
    inside = "".join(_element(name, text) for name, text in values.items())
    return f"<Contents>{inside}</Contents>"


def _error(status: int, details: str, code: str) -> Reply:
    usual, message = _ERRORS.get(status, _OTHER)
    code = code or usual
    said = {"Code": code, "Message": _MESSAGES.get(code, message), "Details": details}
    inside = "".join(_element(name, text) for name, text in said.items() if text)
    return _reply(status, f"<Error>{inside}</Error>")


def _message(body: bytes) -> str:
    """What a JSON call says; a download's refusal is plain text."""
    try:
        said = json.loads(body)["error"]["message"]
    except (ValueError, TypeError, KeyError):
        return body.decode("utf-8", "replace")
    return str(said)


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def _reply(status: int, text: str) -> Reply:
    return Reply(status, (_HEAD + text).encode("utf-8", "replace"), _TYPE)
