"""IAM policies of resources: read, written under their etag, and what they give the caller."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import grpc
from google.iam.v1 import iam_policy_pb2, policy_pb2

from ...core.access.callers import caller
from ...core.access.iam import Bindings
from ...core.core import Core
from ...core.errors import CloudError

_CONDITIONS = 3
"""The version of policies with conditions (cloud.google.com/iam/docs/policies#versions)."""

# https://cloud.google.com/iam/docs/principal-identifiers, without those of deleted principals.
_MEMBER = re.compile(
    r"allUsers|allAuthenticatedUsers|(user|serviceAccount|group):[^@\s:]+@[^@\s:]+"
    r"|domain:[^@\s:]+|project(Owner|Editor|Viewer):[^\s:]+|principal(Set)?://\S+"
)
_ROLE = re.compile(r"((projects|organizations)/[^/]+/)?roles/[A-Za-z0-9_.]+")


def check_bindings(policy: Any) -> None:
    """INVALID_ARGUMENT for a malformed role or member; a `deleted:` member may not be granted.

    hashicorp/terraform-provider-google#5151 quotes the answer for members.
    """
    for binding in policy.bindings:
        if not _ROLE.fullmatch(binding.role):
            raise CloudError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Role {binding.role} is not supported for this resource.",
            )
        if not all(_MEMBER.fullmatch(member) for member in binding.members):
            raise CloudError(
                grpc.StatusCode.INVALID_ARGUMENT,
                'Policy members must be of the form "<type>:<value>".',
            )


class Policies:
    """`need(resource)` answers the resource's canonical name or raises NOT_FOUND."""

    def __init__(self, core: Core, kind: str, need: Callable[[str], str]) -> None:
        self._core, self._store, self._kind, self._need = core, core.store, kind, need
        core.iam.add_policies(self._bindings)

    def get(self, resource: str) -> Any:
        """The policy; one that was never set is empty and has an etag too."""
        blob = self._store.get(self._kind, self._need(resource))
        if blob is None:
            return policy_pb2.Policy(version=1, etag=b"ACAB")
        return policy_pb2.Policy.FromString(blob)

    def set(self, resource: str, policy: Any) -> Any:
        """Replace it; ABORTED when the sent etag is not the stored one."""
        name = self._need(resource)
        check_bindings(policy)
        if policy.etag and policy.etag != self.get(name).etag:
            raise CloudError(
                grpc.StatusCode.ABORTED,
                "There were concurrent policy changes. Please retry the whole read-modify-write "
                "with exponential backoff.",
            )
        if policy.version < _CONDITIONS and any(b.HasField("condition") for b in policy.bindings):
            raise CloudError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "Role bindings with conditions need a policy of version 3.",
            )
        fresh = policy_pb2.Policy()
        fresh.CopyFrom(policy)
        fresh.version = fresh.version or 1
        fresh.etag = b"BwY%06d" % self._store.next_id(self._kind)
        self._store.put(self._kind, name, fresh.SerializeToString())
        members = {binding.role: list(binding.members) for binding in fresh.bindings}
        self._core.effects.record(name, detail={"bindings": members})
        return fresh

    def test(self, resource: str, permissions: list[str]) -> Any:
        """Those of the requested permissions that the caller has."""
        name, iam, account = self._need(resource), self._core.iam, caller()
        held = [permission for permission in permissions if iam.may(account, permission, name)]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=held)

    def _bindings(self, resource: str) -> Bindings:
        """Of the resource, or of the one that it is below."""
        rows = self._store.list(self._kind)
        found = [blob for name, blob in rows if f"{resource}/".startswith(f"{name}/")]
        return [
            (binding.role, binding.members)
            for blob in found
            for binding in policy_pb2.Policy.FromString(blob).bindings
            if not binding.HasField("condition")
        ]

    def drop(self, name: str) -> None:
        """Its resource is gone."""
        self._store.delete(self._kind, name)
