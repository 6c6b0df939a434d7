"""What a request of the XML API asks for, in the JSON API's words; what is not served is refused.

After cloud.google.com/storage/docs/xml-api/reference-headers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from ...server.http_types import HttpError, Request
from ..checks import rules
from ..tables.store import successor

# What other services of this port begin with; no bucket of such a name is found here.
_OTHERS = re.compile(r"storage|upload|download|resumable|batch|token|console|oauth2|v\d\w*|_.*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_HOST = re.compile(r"(?P<bucket>.+)\.localhost(?::\d+)?")
READ = frozenset(("generation", "response-content-type", "response-content-disposition"))
_LIST = frozenset(
    ("prefix", "delimiter", "max-keys", "marker", "list-type", "start-after", "continuation-token")
)
_CONDITIONS = {
    "x-goog-if-generation-match": "ifGenerationMatch",
    "x-goog-if-metageneration-match": "ifMetagenerationMatch",
}
_ABOUT = {
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "content-type": "contentType",
    "x-goog-custom-time": "customTime",
    "x-goog-storage-class": "storageClass",
}
META = "x-goog-meta-"
RANGE = "x-goog-content-length-range"
_ACL = "x-goog-acl"
_KMS = "x-goog-encryption-kms-key-name"
# Headers that the JSON calls honour themselves, or that change nothing.
_PASSED = (
    "x-goog-api-client",
    "x-goog-date",
    "x-goog-encryption-algorithm",
    "x-goog-encryption-key",
    "x-goog-encryption-key-sha256",
    "x-goog-hash",
    "x-goog-project-id",
    "x-goog-request-reason",
    "x-goog-resumable",
    "x-goog-user-project",
)
_SHA256 = "x-goog-content-sha256"
_SERVED = frozenset((*_CONDITIONS, *_ABOUT, *_PASSED, RANGE, _ACL, _KMS, _SHA256))
_MAX_KEYS = 1000


def in_host(request: Request) -> str:
    """The bucket that the host names (BUCKET.localhost), '' for none."""
    match = _HOST.fullmatch(request.headers.get("host", ""))
    return match["bucket"] if match and _BUCKET.fullmatch(match["bucket"]) else ""


def place(request: Request) -> tuple[str, str]:
    """The bucket and the object, '' for none. Raises HttpError 404 where no bucket can be."""
    bucket, name = in_host(request), request.path.removeprefix("/")
    if not bucket:
        bucket, _, name = name.partition("/")
        if not _BUCKET.fullmatch(bucket) or _OTHERS.fullmatch(bucket):
            raise HttpError(404, "notFound", f"Nothing is served at {request.path}.")
    return bucket, unquote(name)


def object_path(bucket: str, name: str) -> str:
    """The object's path in the JSON API."""
    return f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"


def generation(request: Request) -> dict[str, str]:
    """The parameter that names a generation."""
    return {key: request.query[key] for key in ("generation",) if key in request.query}


def conditions(request: Request) -> dict[str, str]:
    """The parameters of the headers that are preconditions."""
    headers = request.headers
    return {ours: headers[theirs] for theirs, ours in _CONDITIONS.items() if theirs in headers}


def about(request: Request, name: str) -> dict[str, Any]:
    """The object's metadata, from the headers."""
    headers = request.headers
    meta = {key.removeprefix(META): text for key, text in headers.items() if key.startswith(META)}
    about = {field: headers[header] for header, field in _ABOUT.items() if header in headers}
    return {"name": name} | about | ({"metadata": meta} if meta else {})


def access(request: Request) -> dict[str, str]:
    """The parameters of the headers x-goog-acl (`public-read`) and of a Cloud KMS key."""
    query: dict[str, str] = {}
    if acl := request.headers.get(_ACL):
        first, *rest = acl.split("-")
        query["predefinedAcl"] = first + "".join(word.capitalize() for word in rest)
    if key := request.headers.get(_KMS):
        query["kmsKeyName"] = key
    return query


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise HttpError 501 for a header that would have an effect at Google and has none here."""
    for name in headers:
        ours = name.startswith(META) or name in _SERVED
        if name.startswith(("x-goog-", "x-amz-")) and not ours:
            raise unserved(f"the header {name}")
    scheme = headers.get("authorization", "bearer ").partition(" ")[0]
    if scheme.lower() != "bearer":
        raise unserved("signatures in the Authorization header")


def check_query(request: Request, served: frozenset[str]) -> None:
    """Raise HttpError 501 for a parameter that is not served here."""
    for name in request.query:
        if name not in served:
            raise unserved(f"the parameter {name}")


def check_body(request: Request) -> None:
    """Hold a body to the size that the signer of its URL allows, and to its hash."""
    digest = request.headers.get(_SHA256, "UNSIGNED-PAYLOAD")
    if digest not in ("UNSIGNED-PAYLOAD", hashlib.sha256(request.body).hexdigest()):
        raise HttpError(400, "BadDigest", f"{_SHA256} is not that of the body.")
    if (text := request.headers.get(RANGE)) is None:
        return
    match = re.fullmatch(r"(\d{1,16}),(\d{1,16})", text)
    if match is None:
        raise HttpError(400, "InvalidArgument", f"{RANGE} is MINIMUM,MAXIMUM.")
    size = len(request.body)
    if size > int(match[2]):
        raise HttpError(400, "EntityTooLarge", f"Content-length exceeds upper bound of {text}")
    if size < int(match[1]):
        raise HttpError(400, "EntityTooSmall", f"Content-length is below lower bound of {text}")


class Listing(NamedTuple):
    """A page of a bucket's list, of the first or the second version of the call."""

    asked: Mapping[str, str]
    second: bool
    size: int

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the JSON call."""
        told = {key: self.asked[key] for key in ("prefix", "delimiter") if self.asked.get(key)}
        token = self._token()
        return told | {"maxResults": str(self.size)} | ({"pageToken": token} if token else {})

    def _token(self) -> str:
        if self.second and (token := self.asked.get("continuation-token")):
            return token
        marker = self.asked.get("start-after" if self.second else "marker", "")
        if not marker:
            return ""
        # A marker may be a folder that was listed: nothing in it is listed again.
        delimiter = self.asked.get("delimiter", "")
        inside = delimiter and marker.endswith(delimiter)
        return rules.encode_token(successor(marker) if inside else marker + "\0")

    def repeated(self, names: list[str], more: str) -> dict[str, str]:
        """The elements of the answer around its entries; `more` is the next page's token."""
        told = {
            "Prefix": self.asked.get("prefix", ""),
            "Delimiter": self.asked.get("delimiter", ""),
            "MaxKeys": str(self.size),
            "IsTruncated": "true" if more else "false",
        }
        if self.second:
            told["KeyCount"] = str(len(names))
        if more:
            name, text = ("NextContinuationToken", more) if self.second else ("NextMarker", "")
            told[name] = text or max(names)
        return told


def listing(request: Request) -> Listing:
    """The page that a request asks for. Raises HttpError."""
    check_query(request, _LIST)
    ask = request.query.get
    text = ask("max-keys") or str(_MAX_KEYS)
    if not re.fullmatch("[1-9][0-9]{0,9}", text):
        raise HttpError(400, "InvalidArgument", "max-keys is a number above 0.")
    if ask("list-type", "2") != "2":
        raise unserved("this list-type")
    size = min(int(text), _MAX_KEYS)
    return Listing(request.query, second="list-type" in request.query, size=size)


def unserved(what: str) -> HttpError:
    """HTTP 501."""
    return HttpError(
        501, "NotImplemented", f"The local cloud does not serve {what} by the XML API."
    )
