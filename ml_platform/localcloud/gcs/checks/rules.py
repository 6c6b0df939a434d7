"""The rules of the GCS JSON API that need no storage: preconditions, listings, resources.

Behaviour after cloud.google.com/storage/docs/json_api/v1 and .../request-preconditions.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from ...server.http_types import HttpError, Request
from ..tables.store import StoredObject, successor
from . import bodies, customer_keys
from .conditions import NOT_MET, check_etag
from .globs import Glob

_CHUNK = 500
_MAX_NAME = 1024
_MAX_METADATA = 8 * 1024
# What only the service writes into an object and a client's update does not take away.
_KEPT = ("componentCount", customer_keys.FIELD)
_BUCKET_PART = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_BUCKET_NAME = re.compile(rf"(?=.{{3,222}}$){_BUCKET_PART}(?:\.{_BUCKET_PART})*")
_OF_GOOGLE = re.compile(r"goog.*|.*(?:google|g00gle|go0gle|g0ogle).*|(?:\d{1,3}\.){3}\d{1,3}")
Scan = Callable[[str, str, int], list[StoredObject]]


def bad(message: str, reason: str = "invalid") -> HttpError:
    """HTTP 400."""
    return HttpError(400, reason, message)


def missing(bucket: str, name: str, generation: int | None = None) -> HttpError:
    """HTTP 404 in the words of GCS."""
    tail = "" if generation is None else f"#{generation}"
    return HttpError(404, "notFound", f"No such object: {bucket}/{name}{tail}")


def check_bucket_name(name: str) -> None:
    """Raise HTTP 400 for a name that GCS would not accept."""
    if not _BUCKET_NAME.fullmatch(name) or _OF_GOOGLE.fullmatch(name):
        raise bad(f"Invalid bucket name: '{name}'")


def check_object_name(name: str) -> None:
    """Raise HTTP 400 for a name that GCS would not accept."""
    if not name:
        raise bad("Required", "required")
    size = len(name.encode())
    if size > _MAX_NAME:
        raise bad(
            f"The maximum object length is {_MAX_NAME} characters, but got a name with {size} "
            f"characters: '{name[:64]}...'"
        )
    if "\r" in name or "\n" in name:
        raise bad("Disallowed unicode characters present in object name.")
    if name in (".", "..") or name.startswith(".well-known/acme-challenge/"):
        raise bad(f"Invalid object name: '{name}'")


def check_preconditions(
    request: Request, found: StoredObject | None, *, read: bool = False, kind: str = "if"
) -> None:
    """Check the conditions of a request, by number and by ETag; `kind` is 'if' or 'ifSource'.

    No live object counts as generation 0. Raises HTTP 412, or 304 where a read has what a
    NotMatch named.
    """
    generation = found.generation if found else 0
    metageneration = found.metageneration if found else None
    for suffix, actual in (("Generation", generation), ("Metageneration", metageneration)):
        wanted = request.number(f"{kind}{suffix}Match")
        unwanted = request.number(f"{kind}{suffix}NotMatch")
        if wanted is not None and wanted != actual:
            raise HttpError(412, "conditionNotMet", NOT_MET)
        if unwanted is not None and unwanted == actual:
            raise HttpError(304 if read else 412, "conditionNotMet", NOT_MET)
    if kind == "if":
        check_etag(request, etag_of(found) if found else "", read=read)


def settable(resource: dict[str, Any]) -> dict[str, Any]:
    """The fields of an object that a client may set, the others are dropped. Raises HTTP 400."""
    fitting = bodies.fitting(resource, bodies.OBJECT)
    kept = {key: value for key, value in fitting.items() if value is not None}
    if "metadata" in kept:
        kept["metadata"] = _metadata(kept["metadata"])
    return kept


def kept(found: StoredObject) -> dict[str, Any]:
    """What an update of an object leaves as it is."""
    return {key: found.settable[key] for key in _KEPT if key in found.settable}


def _metadata(wanted: dict[str, object]) -> dict[str, str]:
    fresh = {str(key): str(value) for key, value in wanted.items() if value is not None}
    # cloud.google.com/storage/quotas: 8 KiB of custom metadata an object, keys and values.
    if sum(len(f"{key}{value}".encode()) for key, value in fresh.items()) > _MAX_METADATA:
        raise bad("Your metadata headers exceed the maximum allowed metadata size.")
    return fresh


def merged(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """JSON merge patch (RFC 7396): null removes, objects merge."""
    fresh = dict(old)
    for key, value in patch.items():
        if value is None:
            fresh.pop(key, None)
        elif isinstance(value, dict):
            before = fresh.get(key)
            fresh[key] = merged(before if isinstance(before, dict) else {}, value)
        else:
            fresh[key] = value
    return fresh


def etag_of(item: StoredObject) -> str:
    """Changes with the object's bytes and with its metadata."""
    return base64.b64encode(f"{item.generation}/{item.metageneration}".encode()).decode()


def resource_of(item: StoredObject, base_url: str, key: str = "") -> dict[str, Any]:
    """The JSON of an object; without the `key` that locks it, it has no checksums."""
    path = f"b/{item.bucket}/o/{quote(item.name, safe='')}"
    made = {
        "kind": "storage#object",
        "id": f"{item.bucket}/{item.name}/{item.generation}",
        "selfLink": f"{base_url}/storage/v1/{path}",
        "mediaLink": f"{base_url}/download/storage/v1/{path}"
        f"?generation={item.generation}&alt=media",
        "name": item.name,
        "bucket": item.bucket,
        "generation": str(item.generation),
        "metageneration": str(item.metageneration),
        "storageClass": "STANDARD",
        "size": str(item.size),
        "crc32c": item.crc32c,
        "etag": etag_of(item),
        "timeCreated": item.created,
        "updated": item.updated,
        "timeStorageClassUpdated": item.created,
        "timeFinalized": item.created,
    }
    # Composed objects have no MD5: they have their number of components instead.
    made |= ({"md5Hash": item.md5} if item.md5 else {}) | item.settable
    return customer_keys.shown(made, key)


class Page(NamedTuple):
    """One page of a listing; `token` is '' on the last."""

    items: list[StoredObject]
    prefixes: list[str]
    token: str


class Listing(NamedTuple):
    """The parameters of a listing."""

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str = ""
    glob: str = ""
    trailing: bool = False


def page_of(
    scan: Scan, wanted: Listing, limit: int, token: str, key: Callable[[StoredObject], str]
) -> Page:
    """Up to `limit` objects and prefixes together, from where `token` points.

    `key` is where `scan` finds an object again.
    """
    items: list[StoredObject] = []
    prefixes: list[str] = []
    for entry in _entries(scan, wanted, decode_token(token), key):
        if len(items) + len(prefixes) == limit:
            return Page(
                items, prefixes, encode_token(entry if isinstance(entry, str) else key(entry))
            )
        if isinstance(entry, str):
            prefixes.append(entry)
        else:
            items.append(entry)
    return Page(items, prefixes, "")


def encode_token(name: str) -> str:
    """An opaque page token: the name to continue with."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def decode_token(token: str) -> str:
    """Raises HTTP 400 for a token that is not ours."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise bad("Invalid argument: pageToken.") from error


def _entries(
    scan: Scan, wanted: Listing, cursor: str, key: Callable[[StoredObject], str]
) -> Iterator[StoredObject | str]:
    """Objects and prefixes in name order; a folder is stepped over, never read through."""
    glob = Glob(wanted.glob) if wanted.glob else None
    stop = successor(wanted.prefix)
    if wanted.end:
        stop = min(stop, wanted.end) if stop else wanted.end
    cursor, folder = max(cursor, wanted.prefix, wanted.start), ""
    while rows := scan(cursor, stop, _CHUNK):
        for row in rows:
            if folder and row.name.startswith(folder):
                continue
            folder = _folder(row.name, wanted)
            name = folder or row.name
            if glob is None or glob.matches(name):
                yield folder or row
                if folder == row.name and wanted.trailing:
                    yield row
        last = rows[-1]
        inside = folder and last.name.startswith(folder)
        cursor = successor(folder) if inside else key(last) + "\0"
        if not cursor:
            return


def _folder(name: str, wanted: Listing) -> str:
    cut = name.find(wanted.delimiter, len(wanted.prefix)) if wanted.delimiter else -1
    return name[: cut + len(wanted.delimiter)] if cut >= 0 else ""
