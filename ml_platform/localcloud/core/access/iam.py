"""Who may do what: the roles of service accounts, checked before a call is served."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping

import grpc
from google.rpc import error_details_pb2

from ..errors import CloudError, Unusable
from ..names import Names
from ..store import Store
from . import permissions as tables
from .callers import caller

_KIND = "cloud.account"
_ALL = ("allUsers", "allAuthenticatedUsers")
_MEMBER = re.compile(r"(?:serviceAccount|user):([^:/\s]+@[^:/\s]+)|allUsers|allAuthenticatedUsers")
_HOME = re.compile(r".+@(.+)\.iam\.gserviceaccount\.com")
Bindings = Iterable[tuple[str, Iterable[str]]]
"""(role, members) as policies have them."""


class Iam:
    """An account that was restricted, or was granted a role, has just its roles; others may all.

    So may a call without credentials. The IAM policies of services and buckets add roles for
    their own resource, without restricting anybody; a binding with a condition adds nothing.
    """

    def __init__(self, store: Store, names: Names) -> None:
        self._store, self._names = store, names
        self._policies: list[Callable[[str], Bindings]] = []
        self._bucket_project: Callable[[str], str | None] = lambda bucket: None
        # (role, project) of each member; in memory, so that no ordered stale read hides it.
        self._grants: dict[str, list[tuple[str, str]]] = {
            member: [(role, project) for role, project in json.loads(blob)]
            for member, blob in store.list(_KIND)
        }

    # the table of accounts

    def grant(self, member: str, role: str, *, project: str = "") -> None:
        """Give `serviceAccount:EMAIL` (or `allUsers` ...) a role on a project, the default one
        unless named. Unusable for what is none of a member, role or declared project."""
        granted = self._known(member, role, project)
        grants = self._grants.setdefault(_name(member), [])
        if granted not in grants:
            grants.append(granted)
        self._save(_name(member))

    def revoke(self, member: str, role: str, *, project: str = "") -> None:
        """Take a role away; the account stays restricted."""
        granted = self._known(member, role, project)
        self._grants[_name(member)] = [
            one for one in self._grants.get(_name(member), []) if one != granted
        ]
        self._save(_name(member))

    def restrict(self, member: str) -> None:
        """From now on it has just its roles, none if nothing was granted."""
        self._grants.setdefault(_name(member), [])
        self._save(_name(member))

    def release(self, member: str) -> None:
        """It may do everything again."""
        self._grants.pop(_name(member), None)
        self._store.delete(_KIND, _name(member))

    def accounts(self) -> dict[str, list[dict[str, str]]]:
        """Each restricted account with its roles."""
        return {
            member: [{"role": role, "project": project} for role, project in grants]
            for member, grants in self._grants.items()
        }

    def reset(self) -> None:
        """Nobody is restricted; the store was emptied."""
        self._grants.clear()

    def _known(self, member: str, role: str, project: str) -> tuple[str, str]:
        _name(member)
        if role not in tables.ROLES:
            raise Unusable(f"{role!r} is none of {', '.join(sorted(tables.ROLES))}.")
        known = self._names.project_of(project or self._names.project)
        if known is None:
            raise Unusable(f"{project!r} is not a declared project.")
        return role, known

    def _save(self, name: str) -> None:
        self._store.put(_KIND, name, json.dumps(self._grants[name]).encode())

    # what resources say

    def add_policies(self, bindings_of: Callable[[str], Bindings]) -> None:
        """Consult `bindings_of(resource)` too; it answers nothing for what it does not have."""
        self._policies.append(bindings_of)

    def add_buckets(self, project_of: Callable[[str], str | None]) -> None:
        """How to find the project (id or number) of a bucket; None when it does not exist."""
        self._bucket_project = project_of

    # the question

    def may(self, account: str, permission: str, resource: str) -> bool:
        """Whether an account has a permission on a resource (`projects/...`)."""
        if account not in self._grants:
            return True
        project = self._project_of(resource)
        members = (account, *_ALL)
        roles = {
            role
            for member in members
            for role, where in self._grants.get(member, [])
            if where == project
        }
        return any(
            permission in tables.ROLES.get(role, ())
            for role in roles | self._roles_on(resource, members)
        )

    def check(self, method: str, request: object, resource: str, parts: Mapping[str, str]) -> None:
        """PERMISSION_DENIED, in the words of the service, unless the caller may make this call."""
        account = caller()
        if account not in self._grants:
            return
        for need in tables.needs_of(method, resource, parts):
            if self._exists(need.resource) and not any(
                self.may(account, permission, need.resource) for permission in need.permissions
            ):
                raise _denied(account, need.permissions[0], need.resource)
        for named in self._accounts(method, request):
            home = _HOME.fullmatch(named)
            project = home[1] if home and self._names.project_of(home[1]) else self._names.project
            if not self.may(account, tables.ACT_AS, f"projects/{project}"):
                raise _cannot_act_as(named)

    def require(self, permission: str, resource: str) -> None:
        """For a service that sees only while it works what the running call needs."""
        account = caller()
        if not self.may(account, permission, resource):
            raise _denied(account, permission, resource)

    def _accounts(self, method: str, request: object) -> Iterable[str]:
        """The accounts that a request names; Cloud Run runs as the default one without any."""
        found = {_dig(request, path) for path in tables.ACCOUNTS.get(method, ())} - {""}
        if not found and method.startswith("Services.") and method in tables.ACCOUNTS:
            found = {f"{self._names.number}-compute@developer.gserviceaccount.com"}
        return sorted(found)

    def _exists(self, resource: str) -> bool:
        """A bucket that does not exist answers 404 to everyone, another project is refused."""
        bucket = _bucket(resource)
        return bucket is None or self._bucket_project(bucket) is not None

    def _project_of(self, resource: str) -> str | None:
        bucket = _bucket(resource)
        named = resource.split("/")[1] if bucket is None and "/" in resource else None
        return self._names.project_of(named or self._bucket_project(bucket or "") or "")

    def _roles_on(self, resource: str, members: tuple[str, ...]) -> set[str]:
        return {
            role
            for bindings_of in self._policies
            for form in self._names.both_forms(resource)
            for role, bound in bindings_of(form)
            if any(member.partition(":")[2] in members or member in members for member in bound)
        }


def _name(member: str) -> str:
    match = _MEMBER.fullmatch(member)
    if match is None:
        raise Unusable(f"{member!r} is not a member, such as serviceAccount:EMAIL or allUsers.")
    return match[1] or member


def _bucket(resource: str) -> str | None:
    start, mark, rest = resource.partition("projects/_/buckets/")
    return rest.partition("/")[0] if mark and not start else None


def _dig(request: object, path: str) -> str:
    value = request
    for part in path.split("."):
        value = getattr(value, part, "")
    return value if isinstance(value, str) else ""


def _denied(account: str, permission: str, resource: str) -> CloudError:
    api = permission.partition(".")[0]
    message = _WORDS.get(api, _words)(account, permission, resource)
    host = {"resourcemanager": "cloudresourcemanager"}.get(api, api)
    info = error_details_pb2.ErrorInfo(
        reason="IAM_PERMISSION_DENIED",
        domain=f"{host}.googleapis.com",
        metadata={"permission": permission, "resource": resource},
    )
    return CloudError(grpc.StatusCode.PERMISSION_DENIED, message, [info])


def _words(account: str, permission: str, resource: str) -> str:
    """As in googleapis/python-aiplatform#1880."""
    del account
    api = permission.partition(".")[0].replace("resourcemanager", "cloudresourcemanager")
    return (
        f"Permission '{permission}' denied on resource '//{api}.googleapis.com/{resource}' "
        "(or it may not exist)."
    )


def _run_words(account: str, permission: str, resource: str) -> str:
    """As in google-github-actions/deploy-cloudrun#182."""
    del account
    return f"Permission '{permission}' denied on resource '{resource}' (or resource may not exist)."


def _scheduler_words(account: str, permission: str, resource: str) -> str:
    """As in hashicorp/terraform-provider-google#12069."""
    del account
    return (
        f'The principal (user or service account) lacks IAM permission "{permission}" for the '
        f'resource "{resource}" (or the resource may not exist).'
    )


def _storage_words(account: str, permission: str, resource: str) -> str:
    """As in ansible-collections/google.cloud#575."""
    kind = "project" if _bucket(resource) is None else "bucket"
    kind = "object" if "/objects/" in resource else kind
    return (
        f"{account} does not have {permission} access to the Google Cloud Storage {kind}. "
        f"Permission '{permission}' denied on resource (or it may not exist)."
    )


def _monitoring_words(account: str, permission: str, resource: str) -> str:
    """As in dynatrace-oss/dynatrace-gcp-monitor#25."""
    del account, resource
    return f"Permission {permission} denied (or the resource may not exist)."


_WORDS: dict[str, Callable[[str, str, str], str]] = {
    "cloudscheduler": _scheduler_words,
    "monitoring": _monitoring_words,
    "run": _run_words,
    "storage": _storage_words,
}


def _cannot_act_as(named: str) -> CloudError:
    """As in GoogleCloudPlatform/cloud-run-release-manager#81, with its lower case."""
    return CloudError(
        grpc.StatusCode.PERMISSION_DENIED,
        f"Permission 'iam.serviceaccounts.actAs' denied on service account {named} "
        "(or it may not exist).",
    )
