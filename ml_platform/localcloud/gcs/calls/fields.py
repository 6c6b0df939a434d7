"""`fields`: an answer with only the fields that its client asked for.

After cloud.google.com/storage/docs/json_api#partial-response; the error's words after
googleapis/google-cloud-php#6636.
"""

from __future__ import annotations

import json
from typing import Any

from ...server.http_types import JSON_TYPE, HttpError, Reply, Request
from ...server.rest.partial import Tree, parse_fields, select

Shape = dict[str, Any]
"""Name to the shape below it; {} is a plain value, None may have anything below it."""


def _shape(names: str, **below: Shape) -> Shape:
    return {name.rstrip("."): None if name.endswith(".") else {} for name in names.split()} | below


# The schemas of the API's discovery document; a name with a dot has fields below it.
_OBJECT = _shape(
    "acl. bucket cacheControl componentCount contentDisposition contentEncoding contentLanguage "
    "contentType contexts. crc32c customTime customerEncryption. etag eventBasedHold generation "
    "hardDeleteTime id kind kmsKeyName md5Hash mediaLink metadata. metageneration name owner. "
    "restoreToken retention. retentionExpirationTime selfLink size softDeleteTime storageClass "
    "temporaryHold timeCreated timeDeleted timeFinalized timeStorageClassUpdated updated"
)
_BUCKET = _shape(
    "acl. autoclass. billing. cors. customPlacementConfig. defaultEventBasedHold "
    "defaultObjectAcl. encryption. etag generation hardDeleteTime hierarchicalNamespace. "
    "iamConfiguration. id ipFilter. kind labels. lifecycle. location locationType logging. "
    "metageneration name objectRetention. owner. projectNumber retentionPolicy. rpo satisfiesPZI "
    "satisfiesPZS selfLink softDeletePolicy. softDeleteTime storageClass timeCreated updated "
    "versioning. website."
)
_POLICY = _shape("bindings. etag kind resourceId version")
_HMAC_KEY = _shape(
    "accessId etag id kind projectId selfLink serviceAccountEmail state timeCreated updated"
)
_NOTIFICATION = _shape(
    "custom_attributes. etag event_types id kind object_name_prefix payload_format selfLink topic"
)
_SHAPES: dict[str, Shape] = {
    "storage.objects.list": _shape("kind nextPageToken prefixes", items=_OBJECT),
    "storage.objects.rewrite": _shape(
        "done kind objectSize rewriteToken totalBytesRewritten", resource=_OBJECT
    ),
    "storage.buckets.list": _shape("kind nextPageToken unreachable", items=_BUCKET),
    "storage.buckets.getIamPolicy": _POLICY,
    "storage.buckets.setIamPolicy": _POLICY,
    "storage.buckets.testIamPermissions": _shape("kind permissions"),
    "storage.hmacKey.create": _shape("kind secret", metadata=_HMAC_KEY),
    "storage.hmacKey.get": _HMAC_KEY,
    "storage.hmacKey.list": _shape("kind nextPageToken", items=_HMAC_KEY),
    "storage.hmacKey.update": _HMAC_KEY,
    "storage.notifications.get": _NOTIFICATION,
    "storage.notifications.insert": _NOTIFICATION,
    "storage.notifications.list": _shape("kind", items=_NOTIFICATION),
    "storage.buckets.getStorageLayout": _shape(
        "bucket customPlacementConfig. hierarchicalNamespace. kind location locationType"
    ),
    "storage.serviceaccount.get": _shape("email_address kind"),
}


def mask_of(request: Request, call: str) -> Tree | None:
    """What `fields` selects of the answer to `call`, None for all of it.

    Raises HttpError 400 for a field that this answer cannot have.
    """
    text = request.query.get("fields", "")
    if not text or request.query.get("alt") == "media":
        return None
    try:
        mask = parse_fields(text)
    except ValueError as error:
        raise _invalid(str(error)) from None
    _check(mask, _SHAPES.get(call, _BUCKET if call.startswith("storage.buckets.") else _OBJECT))
    return mask


def filtered(reply: Reply, mask: Tree | None) -> Reply:
    """The same answer with only these fields."""
    if mask and reply.body and reply.content_type == JSON_TYPE:
        reply.body = json.dumps(select(json.loads(reply.body), mask)).encode()
    return reply


def _check(mask: Tree, shape: Shape | None) -> None:
    if shape is None:
        return
    for name, below in mask.items():
        if name == "*":
            continue
        if name not in shape or (below and shape[name] == {}):
            raise _invalid(f"Invalid field selection {name}")
        _check(below, shape[name])


def _invalid(message: str) -> HttpError:
    return HttpError(400, "invalidParameter", message, "fields")
