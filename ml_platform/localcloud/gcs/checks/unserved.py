"""What Cloud Storage has and the local cloud has not: it is refused with 501, never ignored.

ACLs have no effect here: the private predefined ones name what is so anyway and are accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import grpc

from ...core.errors import CloudError
from ...server.http_types import HttpError, Reply, Request, Route

_B = r"/storage/v1/b/[^/]+"
_ANY = r"(?:/.*)?"
_PATHS = (
    (rf"{_B}/(?:folders|managedFolders){_ANY}", "folders"),
    (rf"{_B}/anywhereCaches{_ANY}", "Anywhere Cache"),
    (rf"{_B}/relocate", "bucket relocation"),
    (rf"{_B}/o/watch", "object change notifications"),
    (rf"{_B}/operations{_ANY}", "long-running operations of Cloud Storage"),
    (rf"{_B}/o/[^/]+/iam{_ANY}", "IAM policies of objects"),
    (r"/storage/v1/channels/stop", "object change notifications"),
)
_VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_PRIVATE = ("private", "projectPrivate", "bucketOwnerFullControl", "bucketOwnerRead")
_PREDEFINED = ("predefinedAcl", "destinationPredefinedAcl", "predefinedDefaultObjectAcl")
_READ_MORE = (
    "when uniform bucket-level access is enabled. "
    "Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access"
)
_KMS = "Cloud KMS keys"
_OBJECT = (("kmsKeyName", _KMS), ("contexts", "object contexts"))


def _is_enabled(value: Any) -> bool:
    return isinstance(value, dict) and bool(value.get("enabled"))


# A bucket's field, the value in it that would need an effect, and what that is.
_BUCKET: tuple[tuple[str, str, Callable[[Any], bool], str], ...] = (
    ("billing", "requesterPays", bool, "requester pays"),
    ("cors", "", bool, "CORS"),
    ("website", "", bool, "websites"),
    ("logging", "", bool, "usage logs"),
    ("encryption", "", bool, _KMS),
    ("autoclass", "enabled", bool, "Autoclass"),
    ("hierarchicalNamespace", "enabled", bool, "folders"),
    ("ipFilter", "mode", lambda mode: mode == "Enabled", "IP filters"),
    ("iamConfiguration", "bucketPolicyOnly", _is_enabled, "bucketPolicyOnly, the old name"),
    ("rpo", "", lambda rpo: rpo == "ASYNC_TURBO", "turbo replication"),
    ("customPlacementConfig", "", bool, "dual-regions of choice"),
)
_PUBLIC = {"allUsers", "allAuthenticatedUsers"}


def refused(what: str) -> CloudError:
    """HTTP 501."""
    return CloudError(grpc.StatusCode.UNIMPLEMENTED, f"The local cloud does not serve {what}.")


def routes(need: Callable[[str], Mapping[str, Any]]) -> list[Route]:
    """The paths of what is not served; `need` answers a bucket, whose ACLs may be switched off."""
    plain = [
        Route(verb, path, "", partial(_refuse, what=what))
        for path, what in _PATHS
        for verb in _VERBS
    ]
    bucket = r"/storage/v1/b/(?P<bucket>[^/]+)"
    acls = [
        Route(verb, path + _ANY, "", partial(_acl, need=need, of=of))
        for path, of in (
            (f"{bucket}/(?:acl|defaultObjectAcl)", "a bucket"),
            (f"{bucket}/o/[^/]+/acl", "an object"),
        )
        for verb in _VERBS
    ]
    return [*plain, *acls]


def check_bucket(wanted: Mapping[str, Any]) -> None:
    """Raise HTTP 501 for a bucket that asks for what is not served, 400 for a wrong prevention."""
    for field, key, needs, what in _BUCKET:
        value = wanted.get(field)
        if key:
            value = value.get(key) if isinstance(value, dict) else None
        if needs(value):
            raise refused(what)
    prevention = _access(wanted).get("publicAccessPrevention", "inherited")
    if prevention not in ("inherited", "unspecified", "enforced"):
        raise HttpError(400, "invalid", f"Invalid value for publicAccessPrevention: {prevention}")


def check_write(request: Request, bucket: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse the ACLs and Cloud KMS keys of a request that writes an object or a bucket."""
    if any(request.query.get(name) for name in ("kmsKeyName", "destinationKmsKeyName")):
        raise refused(_KMS)
    for field, what in _OBJECT:
        if wanted.get(field):
            raise refused(what)
    predefined = [request.query[name] for name in _PREDEFINED if request.query.get(name)]
    given = wanted.get("acl") or wanted.get("defaultObjectAcl")
    if (predefined or given) and is_uniform(bucket):
        raise HttpError(400, "invalid", f"Cannot insert legacy ACL for an object {_READ_MORE}")
    if any(name not in _PRIVATE for name in predefined):
        check_public(bucket)
        raise refused("ACLs")
    if given:
        raise refused("ACLs")


def check_compose(wanted: Mapping[str, Any]) -> None:
    """Raise HTTP 501 for a composition that deletes its sources."""
    if wanted.get("deleteSourceObjects"):
        raise refused("deleteSourceObjects")


def check_list(request: Request) -> None:
    """Raise HTTP 501 for a listing that filters by contexts."""
    if request.query.get("filter"):
        raise refused("object contexts")


def check_policy(bucket: Mapping[str, Any], policy: Mapping[str, Any]) -> None:
    """Raise HTTP 412 for a policy that is public where the bucket prevents it, or has conditions.

    Conditions need uniform bucket-level access and version 3, else HTTP 412 and 400
    (cloud.google.com/storage/docs/access-control/iam#conditions).
    """
    bindings = policy.get("bindings")
    rows = [row for row in bindings if isinstance(row, dict)] if isinstance(bindings, list) else []
    if any(row.get("condition") for row in rows):
        if not is_uniform(bucket):
            raise HttpError(
                412,
                "conditionNotMet",
                "To use conditions in a policy, enable uniform bucket-level access.",
            )
        if int(policy.get("version") or 1) < 3:
            raise HttpError(
                400, "invalid", "The policy has conditions: its version must be at least 3."
            )
    if any(_PUBLIC & set(row.get("members") or ()) for row in rows):
        check_public(bucket)


def check_public(bucket: Mapping[str, Any]) -> None:
    """Raise HTTP 412 where public access is prevented."""
    if _access(bucket).get("publicAccessPrevention") == "enforced":
        raise HttpError(
            412,
            "conditionNotMet",
            "The member bindings allUsers and allAuthenticatedUsers are not allowed since public "
            "access prevention is enforced.",
        )


def is_uniform(bucket: Mapping[str, Any]) -> bool:
    """Whether the bucket has uniform bucket-level access."""
    uniform = _access(bucket).get("uniformBucketLevelAccess")
    return isinstance(uniform, dict) and bool(uniform.get("enabled"))


def _access(bucket: Mapping[str, Any]) -> dict[str, Any]:
    configuration = bucket.get("iamConfiguration")
    return configuration if isinstance(configuration, dict) else {}


def _refuse(request: Request, *, what: str) -> Reply:
    del request
    raise refused(what)


def _acl(
    request: Request, bucket: str, *, need: Callable[[str], Mapping[str, Any]], of: str
) -> Reply:
    if is_uniform(need(bucket)):
        verb = "get" if request.verb == "GET" else "insert"
        raise HttpError(400, "invalid", f"Cannot {verb} legacy ACL for {of} {_READ_MORE}")
    raise refused("ACLs")
