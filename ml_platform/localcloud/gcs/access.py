"""What IAM asks of Cloud Storage: whose a bucket is, and whom its policy names."""

from __future__ import annotations

from ..core.access.iam import Bindings
from ..core.core import Core
from .tables.versions import VersionedTables


def answer_iam(core: Core, tables: VersionedTables) -> None:
    """Have the roles of a bucket's project and of its policy count for it and its objects."""

    def project_of(bucket: str) -> str | None:
        found = tables.known_bucket(bucket)
        return None if found is None else str(found["projectNumber"])

    def bindings_of(resource: str) -> Bindings:
        start, mark, rest = resource.partition("projects/_/buckets/")
        found = tables.known_bucket(rest.partition("/")[0]) if mark and not start else None
        policy = (found or {}).get("_policy", {})
        return [
            (binding["role"], binding.get("members", []))
            for binding in policy.get("bindings", [])
            if "condition" not in binding
        ]

    core.iam.add_buckets(project_of)
    core.iam.add_policies(bindings_of)
