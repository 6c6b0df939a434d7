"""HMAC keys of service accounts, after cloud.google.com/storage/docs/json_api/v1/projects/hmacKeys.

Signed URLs may be signed with them. Only the answer that creates a key has its secret.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from typing import Any

from ..core.core import Core
from ..core.names import Location
from ..server.http_types import HttpError, Reply, Request, Route, json_reply
from .checks import rules
from .checks.conditions import NOT_MET, check_etag
from .places import place_of
from .tables.store import stamp

_KIND = "gcs.hmac_key"
_KEYS = r"/storage/v1/projects/(?P<project>[^/]+)/hmacKeys"
_ONE = _KEYS + r"/(?P<access_id>[^/]+)"
_MAX_RESULTS = 250
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_STATES = ("ACTIVE", "INACTIVE")
_HIDDEN = "_secret"
# cloud.google.com/storage/docs/authentication/hmackeys#restrictions; deleted ones do not count.
_MAX_OF_ACCOUNT = 10


class HmacKeys:
    """Each key belongs to a project. A deleted one can still be read and listed."""

    def __init__(self, core: Core) -> None:
        self._store, self._names = core.store, core.names
        self._clock, self._effects = core.clock, core.effects

    def routes(self) -> list[Route]:
        """The five calls, by the names that the Retry Test API has for them."""
        return [
            Route("POST", _KEYS, "storage.hmacKey.create", self._create),
            Route("GET", _KEYS, "storage.hmacKey.list", self._list),
            Route("GET", _ONE, "storage.hmacKey.get", self._get),
            Route("PUT", _ONE, "storage.hmacKey.update", self._update),
            Route("DELETE", _ONE, "storage.hmacKey.delete", self._delete),
        ]

    def secret_of(self, access_id: str) -> tuple[str, str] | None:
        """(account, secret) of an active key of any project, None where there is none."""
        for project in self._names.projects:
            with self._names.at(place_of(self._names, project)):
                blob = self._store.get(_KIND, access_id)
            key: dict[str, str] = json.loads(blob) if blob else {}
            if key.get("state") == "ACTIVE" and _HIDDEN in key:
                return key["serviceAccountEmail"], key[_HIDDEN]
        return None

    def _check_room(self, place: Location, email: str) -> None:
        with self._names.at(place):
            keys = [json.loads(blob) for _, _, blob in self._store.rows(_KIND)]
        there = [k for k in keys if k["serviceAccountEmail"] == email and k["state"] != "DELETED"]
        if len(there) >= _MAX_OF_ACCOUNT:
            # The words after GoogleCloudPlatform/python-docs-samples#4029, ruby-docs-samples#455.
            raise HttpError(403, "quotaExceeded", "Service account HMAC key limit reached")

    def _create(self, request: Request, project: str) -> Reply:
        email = request.query.get("serviceAccountEmail", "")
        if not email:
            raise rules.bad("Required parameter: serviceAccountEmail", "required")
        if not _EMAIL.fullmatch(email):
            raise rules.bad(f"Invalid argument: serviceAccountEmail '{email}'.")
        place, now = place_of(self._names, project), stamp(self._clock.now())
        self._check_room(place, email)
        secret = base64.b64encode(secrets.token_bytes(30)).decode()
        # 61 characters, as the access IDs of service accounts have.
        access_id = "GOOG1E" + base64.b32encode(secrets.token_bytes(35)).decode()[:55]
        key = {
            "kind": "storage#hmacKeyMetadata",
            "id": f"{place.project}/{access_id}",
            "accessId": access_id,
            "projectId": place.project,
            "serviceAccountEmail": email,
            "state": "ACTIVE",
            "timeCreated": now,
            "updated": now,
            "etag": _etag(1),
            _HIDDEN: secret,
        }
        self._put(key)
        metadata = _shown(request, key)
        return json_reply({"kind": "storage#hmacKey", "metadata": metadata, "secret": secret})

    def _list(self, request: Request, project: str) -> Reply:
        limit = request.number("maxResults")
        if limit is not None and limit < 1:
            raise rules.bad("Invalid argument: maxResults.")
        start = rules.decode_token(request.query.get("pageToken", ""))
        if start and not start.isdecimal():
            raise rules.bad("Invalid argument: pageToken.")
        email = request.query.get("serviceAccountEmail")
        states = (*_STATES, "DELETED") if request.flag("showDeletedKeys") else _STATES
        with self._names.at(place_of(self._names, project)):
            rows = self._store.rows(_KIND, after=int(start or 0))
            keys = ((number, json.loads(blob)) for number, _, blob in rows)
            found = [
                (number, key)
                for number, key in keys
                if key["state"] in states and email in (None, key["serviceAccountEmail"])
            ]
        size = min(limit or _MAX_RESULTS, _MAX_RESULTS)
        answer: dict[str, Any] = {
            "kind": "storage#hmacKeysMetadata",
            "items": [_shown(request, key) for _, key in found[:size]],
        }
        if len(found) > size:
            answer["nextPageToken"] = rules.encode_token(str(found[size - 1][0]))
        return json_reply(answer)

    def _get(self, request: Request, project: str, access_id: str) -> Reply:
        return json_reply(_shown(request, self._need(project, access_id)))

    def _update(self, request: Request, project: str, access_id: str) -> Reply:
        key, wanted = self._need(project, access_id), request.json()
        state = wanted.get("state")
        if wanted.get("etag") not in (None, key["etag"]):
            raise HttpError(412, "conditionNotMet", NOT_MET)
        check_etag(request, key["etag"], read=False)
        if state not in _STATES:
            raise rules.bad(f"Invalid argument: state must be one of {', '.join(_STATES)}.")
        # As in googleapis/google-cloud-cpp#2434.
        if key["state"] == "DELETED":
            raise rules.bad("Cannot update keys in 'DELETED' state.")
        return json_reply(_shown(request, self._become(key, state)))

    def _delete(self, request: Request, project: str, access_id: str) -> Reply:
        key = self._need(project, access_id)
        check_etag(request, key["etag"], read=False)
        if key["state"] != "INACTIVE":
            raise rules.bad(f"Cannot delete keys in '{key['state']}' state.")
        self._become(key, "DELETED")
        return Reply(204)

    def _need(self, project: str, access_id: str) -> dict[str, Any]:
        with self._names.at(place_of(self._names, project)):
            blob = self._store.get(_KIND, access_id)
        if blob is None:
            raise HttpError(404, "notFound", f"Access ID not found in project {project}.")
        key: dict[str, Any] = json.loads(blob)
        return key

    def _become(self, key: dict[str, Any], state: str) -> dict[str, Any]:
        number = int(base64.b64decode(key["etag"])) + 1
        updated = stamp(self._clock.now())
        changed = key | {"state": state, "updated": updated, "etag": _etag(number)}
        self._put(changed)
        return changed

    def _put(self, key: dict[str, Any]) -> None:
        with self._names.at(place_of(self._names, key["projectId"])):
            self._store.put(_KIND, key["accessId"], json.dumps(key).encode())
        self._effects.record(key["id"])


def _etag(number: int) -> str:
    return base64.b64encode(str(number).encode()).decode()


def _shown(request: Request, key: dict[str, Any]) -> dict[str, Any]:
    path = f"/storage/v1/projects/{key['projectId']}/hmacKeys/{key['accessId']}"
    shown = {name: text for name, text in key.items() if name != _HIDDEN}
    return shown | {"selfLink": request.base_url + path}
