"""The fields of objects and buckets that a client may set, and what their values are.

After the schemas of the API's discovery document. A field that only the service sets is dropped, as
Google does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import grpc

from ...core.errors import CloudError
from ...server.http_types import HttpError

_CLASSES = frozenset(
    (
        "STANDARD",
        "NEARLINE",
        "COLDLINE",
        "ARCHIVE",
        "MULTI_REGIONAL",
        "REGIONAL",
        "DURABLE_REDUCED_AVAILABILITY",
    )
)
# cloud.google.com/storage/docs/tags-and-labels#bucket-labels
_LABEL_KEY = re.compile(r"[\w-]{1,63}")
_LABEL = re.compile(r"[\w-]{0,63}")
_MAX_LABELS = 64
_LOCATION = re.compile(r"US|EU|ASIA|[A-Z]+(-[A-Z]+)*-[A-Z]+[0-9]{1,2}")
_DUAL = re.compile(r"(?:ASIA|EUR|NAM)[0-9]{1,2}")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_time(value: object) -> bool:
    try:
        return datetime.fromisoformat(str(value)).tzinfo is not None
    except ValueError:
        return False


def _is_class(value: object) -> bool:
    return value in _CLASSES


def _is_metadata(value: object) -> bool:
    return isinstance(value, dict) and not any(
        isinstance(text, dict | list) for text in value.values()
    )


def _are_labels(value: object) -> bool:
    """Keys begin with a letter; null removes a label in a patch."""
    return (
        isinstance(value, dict)
        and len(value) <= _MAX_LABELS
        and all(
            _LABEL_KEY.fullmatch(key) and key[0].isalpha() and key == key.lower() for key in value
        )
        and all(
            text is None
            or (isinstance(text, str) and _LABEL.fullmatch(text) and text == text.lower())
            for text in value.values()
        )
    )


Fits = Callable[[object], bool]
OBJECT: Mapping[str, Fits] = {
    "cacheControl": _is_text,
    "contentDisposition": _is_text,
    "contentEncoding": _is_text,
    "contentLanguage": _is_text,
    "contentType": _is_text,
    "customTime": _is_time,
    "eventBasedHold": _is_flag,
    "metadata": _is_metadata,
    "retention": _is_object,
    "storageClass": _is_class,
    "temporaryHold": _is_flag,
}
BUCKET: Mapping[str, Fits] = {
    "autoclass": _is_object,
    "billing": _is_object,
    "cors": _is_list,
    "customPlacementConfig": _is_object,
    "defaultEventBasedHold": _is_flag,
    "encryption": _is_object,
    "hierarchicalNamespace": _is_object,
    "iamConfiguration": _is_object,
    "ipFilter": _is_object,
    "labels": _are_labels,
    "lifecycle": _is_object,
    "logging": _is_object,
    "retentionPolicy": _is_object,
    "rpo": _is_text,
    "softDeletePolicy": _is_object,
    "storageClass": _is_class,
    "versioning": _is_object,
    "website": _is_object,
}


def fitting(wanted: Mapping[str, Any], fields: Mapping[str, Fits]) -> dict[str, Any]:
    """What a client may set of these fields; null stays. Raises HTTP 400 for a wrong value."""
    kept = {name: wanted[name] for name in fields if name in wanted}
    for name, value in kept.items():
        if value is not None and not fields[name](value):
            raise HttpError(400, "invalid", f"Invalid value for: {name}.")
    return kept


def location_of(wanted: Mapping[str, Any], default: str) -> str:
    """A new bucket's location. Raises HTTP 400, or 501 for a dual-region."""
    location = str(wanted.get("location") or default).upper()
    if _DUAL.fullmatch(location):
        message = "The local cloud does not serve dual-regions."
        raise CloudError(grpc.StatusCode.UNIMPLEMENTED, message)
    if not _LOCATION.fullmatch(location):
        raise HttpError(400, "invalid", "The specified location constraint is not valid.")
    return location
