"""The plan of a deletion."""

from __future__ import annotations

from dataclasses import asdict

from ninja import Field

from ml_platform.services.deletion.plan import DeletionPlan, VersionFacts

from .base import Json, Out, example


class SizeOut(Out):
    """Objects and bytes in GCS; `complete` is false where counting stopped."""

    objects: int
    bytes: int
    complete: bool


class PlanVersion(Out):
    """A version in a deletion plan."""

    run: int
    version: int
    vertex: str
    aliases: list[str]
    size: SizeOut | None
    unsafe: str
    used_by: str = Field(
        description="Other users of its artifacts, which therefore stay; empty when there are none."
    )


class PlanBlock(Out):
    """A reason that forbids the deletion."""

    code: str
    message: str
    endpoint: int | None


@example(
    {
        "versions": [
            {
                "run": 41,
                "version": 3,
                "vertex": "projects/1/locations/europe-central2/models/mr-5f0c-1@3",
                "aliases": ["default"],
                "size": {"objects": 12, "bytes": 84_000_000, "complete": True},
                "unsafe": "",
                "used_by": "",
            }
        ],
        "siblings": [],
        "endpoints_marked": [],
        "default_moves_to": None,
        "ends_registration": True,
        "size": {"objects": 12, "bytes": 84_000_000, "complete": True},
        "blocks": [
            {
                "code": "model_deployed",
                "message": "Endpoint chern-rank-v4 is active. Undeploy it first.",
                "endpoint": 2,
            }
        ],
        "unknown": [],
        "files_go": "with the deletion, after everything that may refer to them was read again",
        "files_brought_back": "Soft delete is on: until 7 days after they are deleted.",
    }
)
class PlanOut(Out):
    """What a deletion would delete and leave, and what forbids it."""

    versions: list[PlanVersion]
    siblings: list[PlanVersion]
    endpoints_marked: list[str]
    default_moves_to: int | None
    ends_registration: bool
    size: SizeOut
    blocks: list[PlanBlock]
    unknown: list[str] = Field(description="Planes that could not be read.")
    files_go: str = Field(description="When the files go; empty if there are none, or unknown.")
    files_brought_back: str = Field(
        description="What object versioning and soft delete could bring back, and until when."
    )


def plan_json(plan: DeletionPlan) -> Json:
    """The preview of a deletion."""
    return {
        "versions": [_plan_version(version) for version in plan.versions],
        "siblings": [_plan_version(version) for version in plan.siblings],
        "endpoints_marked": [endpoint.service_name for endpoint in plan.endpoints_marked],
        "default_moves_to": plan.default_moves_to.number if plan.default_moves_to else None,
        "ends_registration": plan.ends_registration,
        "size": asdict(plan.size),
        "blocks": [
            {"code": block.error.code, "message": block.error.words, "endpoint": block.endpoint_id}
            for block in plan.blocks
        ],
        "unknown": list(plan.unknown),
        "files_go": plan.files_go,
        "files_brought_back": plan.files_brought_back,
    }


def _plan_version(version: VersionFacts) -> Json:
    return {
        "run": version.run_id,
        "version": version.number,
        "vertex": version.vertex,
        "aliases": list(version.aliases),
        "size": asdict(version.size) if version.size else None,
        "unsafe": str(version.unsafe or ""),
        "used_by": version.used_by,
    }
