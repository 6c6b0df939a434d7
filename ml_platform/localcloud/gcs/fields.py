"""`fields`: an answer with only the fields that its client asked for.

After cloud.google.com/storage/docs/json_api#partial-response; the error's words after
googleapis/google-cloud-php#6636.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ..server.http_types import JSON_TYPE, HttpError, Reply, Request

Mask = dict[str, Any]
"""Name to the mask below it; an empty mask selects everything."""
Shape = dict[str, Any]
"""Name to the shape below it; {} is a plain value, None may have anything below it."""

_DEEPEST = 20
_TOKEN = re.compile(r"[^,/()\s]+|[,/()]")


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
_SHAPES: dict[str, Shape] = {
    "storage.objects.list": _shape("kind nextPageToken prefixes", items=_OBJECT),
    "storage.objects.rewrite": _shape(
        "done kind objectSize rewriteToken totalBytesRewritten", resource=_OBJECT
    ),
    "storage.buckets.list": _shape("kind nextPageToken unreachable", items=_BUCKET),
    "storage.buckets.getIamPolicy": _POLICY,
    "storage.buckets.setIamPolicy": _POLICY,
    "storage.buckets.testIamPermissions": _shape("kind permissions"),
    "storage.buckets.getStorageLayout": _shape(
        "bucket customPlacementConfig. hierarchicalNamespace. kind location locationType"
    ),
    "storage.serviceaccount.get": _shape("email_address kind"),
}


def mask_of(request: Request, call: str) -> Mask | None:
    """What `fields` selects of the answer to `call`, None for all of it.

    Raises HttpError 400 for a field that this answer cannot have.
    """
    text = request.query.get("fields", "")
    if not text or request.query.get("alt") == "media":
        return None
    mask = parse(text)
    _check(mask, _SHAPES.get(call, _BUCKET if call.startswith("storage.buckets.") else _OBJECT))
    return mask


def filtered(reply: Reply, mask: Mask | None) -> Reply:
    """The same answer with only these fields."""
    if mask and reply.body and reply.content_type == JSON_TYPE:
        reply.body = json.dumps(select(json.loads(reply.body), mask)).encode()
    return reply


def parse(text: str) -> Mask:
    """`kind,items(name,metadata/run)` as a mask. Raises HttpError 400."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != "".join(text.split()):
        raise _invalid(text)
    mask = _list(tokens, text, 0)
    if tokens:
        raise _invalid(text)
    return mask


def select(value: Any, mask: Mask) -> Any:
    """The part of a JSON value that the mask selects."""
    if not mask:
        return value
    if isinstance(value, list):
        return [select(item, mask) for item in value]
    if not isinstance(value, dict):
        return value
    chosen = {key: mask.get(key, mask.get("*")) for key in value}
    return {key: select(value[key], below) for key, below in chosen.items() if below is not None}


def _list(tokens: list[str], text: str, depth: int) -> Mask:
    mask: Mask = {}
    while True:
        name, below = _item(tokens, text, depth)
        mask[name] = _both(mask[name], below) if name in mask else below
        if tokens[:1] != [","]:
            return mask
        tokens.pop(0)


def _both(one: Mask, other: Mask) -> Mask:
    """`items/name` and `items/size` together; either of them may be all of it."""
    if not one or not other:
        return {}
    common = {name: _both(one[name], other[name]) for name in one.keys() & other.keys()}
    return one | other | common


def _item(tokens: list[str], text: str, depth: int) -> tuple[str, Mask]:
    name = tokens.pop(0) if tokens else ""
    if name in ("", ",", "/", "(", ")") or depth > _DEEPEST:
        raise _invalid(text)
    if tokens[:1] == ["/"]:
        tokens.pop(0)
        below, mask = _item(tokens, text, depth + 1)
        return name, {below: mask}
    if tokens[:1] == ["("]:
        tokens.pop(0)
        mask = _list(tokens, text, depth + 1)
        if tokens[:1] != [")"]:
            raise _invalid(text)
        tokens.pop(0)
        return name, mask
    return name, {}


def _check(mask: Mask, shape: Shape | None) -> None:
    if shape is None:
        return
    for name, below in mask.items():
        if name == "*":
            continue
        if name not in shape or (below and shape[name] == {}):
            raise _invalid(name)
        _check(below, shape[name])


def _invalid(what: str) -> HttpError:
    return HttpError(400, "invalidParameter", f"Invalid field selection {what}", "fields")
