"""What a deletion takes, what it leaves and what stands against it: a pure decision (law 5)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ml_platform.models.states import PROTECTING_ENDPOINT_STATES
from ml_platform.services.registry.artifacts import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """One version. `size` is None when GCS could not be read or holds nothing of ours."""

    run_id: int
    run_uid: str
    number: int
    vertex: str
    """name@version, '' when it is lost already."""
    aliases: tuple[str, ...] = ()
    size: Size | None = None
    protected: str = ""
    """Which alias of it keeps it, '' when none does."""
    unsafe: str = ""
    """Why its artifacts may not be deleted, '' when they may."""
    foreign: str = ""
    """Why Vertex AI's version is not ours by its labels, '' when it is, or is gone."""
    used_by: str = ""
    """Who else points at its artifacts, which are therefore kept; '' when nobody does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFacts:
    """One endpoint of the lineage, by our row."""

    id: int
    service_name: str
    state: str
    is_active: bool
    run_ids: tuple[int, ...]
    """The versions it serves, served last or brings up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFacts:
    """One Cloud Run service with our labels, as Cloud Run shows it."""

    service_name: str
    run_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Something that stands against the deletion, with the row it is about."""

    code: str
    message: str
    endpoint_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionPlan:
    """The preview that a person sees, and what the doing checks again."""

    versions: tuple[VersionFacts, ...]
    siblings: tuple[VersionFacts, ...]
    endpoints_marked: tuple[EndpointFacts, ...]
    default_moves_to: VersionFacts | None
    ends_registration: bool
    blocks: tuple[Block, ...]
    unknown: tuple[str, ...]
    """Planes that could not be read; the deletion waits for them."""

    @property
    def size(self) -> Size:
        """Objects and bytes that go, as far as they were counted."""
        sizes = [v.size for v in self.versions if v.size and not v.used_by]
        return Size(
            sum(size.objects for size in sizes),
            sum(size.bytes for size in sizes),
            all(size.complete for size in sizes),
        )


def plan_deletion(
    *,
    versions: Sequence[VersionFacts],
    doomed: Collection[int],
    endpoints: Sequence[EndpointFacts],
    services: Sequence[ServiceFacts] = (),
    busy: str = "",
    unknown: Sequence[str] = (),
) -> DeletionPlan:
    """Plan to delete the versions whose run ids are `doomed` from a lineage's `versions`."""
    going = tuple(version for version in versions if version.run_id in doomed)
    staying = tuple(version for version in versions if version.run_id not in doomed)
    touched = tuple(e for e in endpoints if set(e.run_ids) & set(doomed))
    registered = [version for version in staying if version.vertex]
    newest = max(registered, key=lambda version: version.number, default=None)
    loses_default = any("default" in version.aliases for version in going)
    return DeletionPlan(
        versions=going,
        siblings=staying,
        endpoints_marked=tuple(e for e in touched if not _protects(e)),
        default_moves_to=newest if loses_default else None,
        ends_registration=not registered and any(version.vertex for version in going),
        blocks=tuple(_blocks(going, touched, services, busy)),
        unknown=tuple(unknown),
    )


def _protects(endpoint: EndpointFacts) -> bool:
    return endpoint.is_active or endpoint.state in PROTECTING_ENDPOINT_STATES


def _blocks(
    going: Sequence[VersionFacts],
    endpoints: Sequence[EndpointFacts],
    services: Sequence[ServiceFacts],
    busy: str,
) -> list[Block]:
    blocks = [
        Block(
            code="model_deployed",
            message=f"Endpoint {e.service_name} is {e.state}. Undeploy it first.",
            endpoint_id=e.id,
        )
        for e in endpoints
        if _protects(e)
    ]
    known = {e.service_name for e in endpoints if _protects(e)}
    uids = {version.run_uid for version in going}
    blocks += [
        Block(
            code="model_deployed",
            message=f"Cloud Run still serves it as {s.service_name}, although no endpoint of "
            "ours is active. Undeploy or delete that service first.",
        )
        for s in services
        if s.run_uid in uids and s.service_name not in known
    ]
    blocks += [
        Block(code="protected_alias", message=version.protected)
        for version in going
        if version.protected
    ]
    blocks += [
        Block(code="unsafe_path", message=version.unsafe) for version in going if version.unsafe
    ]
    blocks += [
        Block(code="foreign_version", message=version.foreign)
        for version in going
        if version.foreign
    ]
    if busy:
        blocks.append(Block(code="busy", message=busy))
    if not going:
        blocks.append(Block(code="nothing_to_delete", message="There is no version to delete."))
    return blocks
