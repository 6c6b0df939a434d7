"""The IAM policies of buckets, under their etag; access.py tells IAM of them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from ...core.access.callers import caller
from ...core.core import Core
from ...server.http_types import HttpError, Reply, Request, Route, json_reply
from ..checks import unserved
from ..tables.store import ObjectTables

_ONE = r"/storage/v1/b/(?P<bucket>[^/]+)"


class BucketPolicies:
    """`need` answers a bucket or raises HTTP 404."""

    def __init__(
        self, tables: ObjectTables, need: Callable[[str], dict[str, Any]], core: Core
    ) -> None:
        self._tables = tables
        self._need = need
        self._effects, self._iam = core.effects, core.iam

    def routes(self) -> list[Route]:
        """Everything under /storage/v1/b/.../iam."""
        return [
            Route("GET", f"{_ONE}/iam", "storage.buckets.getIamPolicy", self._get_policy),
            Route("PUT", f"{_ONE}/iam", "storage.buckets.setIamPolicy", self._set_policy),
            Route(
                "GET",
                f"{_ONE}/iam/testPermissions",
                "storage.buckets.testIamPermissions",
                self._test_permissions,
            ),
        ]

    def _get_policy(self, request: Request, bucket: str) -> Reply:
        del request
        return json_reply(_policy(self._need(bucket)))

    def _set_policy(self, request: Request, bucket: str) -> Reply:
        with self._tables.transaction():
            found = self._need(bucket)
            before = _policy(found)
            wanted = request.json()
            if wanted.get("etag") not in (None, before["etag"]):
                raise HttpError(412, "conditionNotMet", "The policy's etag does not match.")
            unserved.check_policy(found, wanted)
            number = int(base64.b64decode(before["etag"])) + 1
            found["_policy"] = before | {
                "bindings": wanted.get("bindings", []),
                "version": wanted.get("version", 1),
                "etag": base64.b64encode(str(number).encode()).decode(),
            }
            self._tables.put_bucket(found)
        self._effects.record(bucket)
        return json_reply(_policy(found))

    def _test_permissions(self, request: Request, bucket: str) -> Reply:
        self._need(bucket)
        resource, account = f"projects/_/buckets/{bucket}", caller()
        permissions = request.query.get("permissions", "").split("\n")
        return json_reply(
            {
                "kind": "storage#testIamPermissionsResponse",
                "permissions": [
                    p for p in permissions if p and self._iam.may(account, p, resource)
                ],
            }
        )


def _policy(bucket: dict[str, Any]) -> dict[str, Any]:
    fresh = {
        "kind": "storage#policy",
        "resourceId": f"projects/_/buckets/{bucket['name']}",
        "version": 1,
        "bindings": [],
        "etag": base64.b64encode(b"1").decode(),
    }
    stored: dict[str, Any] = bucket.get("_policy", fresh)
    return stored
