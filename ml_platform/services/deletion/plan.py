"""The plan of a deletion: what it deletes, what it leaves and what forbids it, as pure functions.

A user sees it before anything is deleted, and the worker makes it again before each deletion,
because the state may have changed (law 5).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from ml_platform.cloud.types import RemoteModel
from ml_platform.errors import Conflict, PlatformError
from ml_platform.models import DeployedEndpoint, EndpointTraffic
from ml_platform.models.states import PROTECTING_ENDPOINT_STATES
from ml_platform.services.artifacts.folders import Size


class DeployedModel(Conflict):
    """An endpoint serves the version, by our rows or as Cloud Run shows it."""

    code = "model_deployed"
    advice = "Undeploy it first."


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """One version. `size` is None when GCS could not be read or has no files of it."""

    run_id: int
    run_uid: str
    number: int
    vertex: str
    """name@version, '' when it is lost."""
    aliases: tuple[str, ...] = ()
    size: Size | None = None
    protected: PlatformError | None = None
    """Its protected alias, which forbids the deletion."""
    unsafe: PlatformError | None = None
    """Why its artifacts may not be deleted."""
    refused: PlatformError | None = None
    """Why its version in Vertex AI may not be deleted: its labels are not ours, or it is served."""
    used_by: str = ""
    """The other users of its artifacts, which therefore stay; '' when there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFacts:
    """One Cloud Run service with our labels, as Cloud Run shows it."""

    service_name: str
    run_uid: str
    by: str = ""
    """Which revision serves it, and what that gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A reason that forbids the deletion, with the row it is about."""

    error: PlatformError
    endpoint_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionPlan:
    """The plan that the preview shows and the worker checks again."""

    versions: tuple[VersionFacts, ...]
    siblings: tuple[VersionFacts, ...]
    endpoints_marked: tuple[DeployedEndpoint, ...]
    default_moves_to: VersionFacts | None
    ends_registration: bool
    blocks: tuple[Block, ...]
    unknown: tuple[str, ...]
    """Planes that could not be read; the deletion waits for them."""
    files_go: str = ""
    """When the files are deleted; '' if there are none, or it is unknown."""
    files_brought_back: str = ""
    """What could bring deleted files back, and until when; '' if there are none."""

    @property
    def size(self) -> Size:
        """Objects and bytes that are deleted, as far as they were counted."""
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
    endpoints: Iterable[DeployedEndpoint],
    traffic: Iterable[EndpointTraffic] = (),
    services: Sequence[ServiceFacts] = (),
    busy: PlatformError | None = None,
    unknown: Sequence[str] = (),
) -> DeletionPlan:
    """Plan to delete the versions whose run ids are `doomed` from a lineage's `versions`.

    `traffic` is what requests to endpoints reach by our rows, `services` by Cloud Run now.
    """
    going = tuple(version for version in versions if version.run_id in doomed)
    staying = tuple(version for version in versions if version.run_id not in doomed)
    reached = [row for row in traffic if row.run_id in doomed]
    touched = tuple(e for e in endpoints if {e.run_id, e.intended_run_id} & set(doomed))
    registered = [version for version in staying if version.vertex]
    newest = max(registered, key=lambda version: version.number, default=None)
    loses_default = any("default" in version.aliases for version in going)
    return DeletionPlan(
        versions=going,
        siblings=staying,
        endpoints_marked=tuple(e for e in touched if not protects(e)),
        default_moves_to=newest if loses_default else None,
        ends_registration=not registered and any(version.vertex for version in going),
        blocks=tuple(_blocks(going, touched, reached, services, busy)),
        unknown=tuple(unknown),
    )


def require_unblocked(plan: DeletionPlan) -> None:
    """Check that nothing forbids the deletion.

    :raises PlatformError: the first reason that forbids it.
    """
    for block in plan.blocks:
        raise block.error


def protects(endpoint: DeployedEndpoint) -> bool:
    """Whether an endpoint serves or may serve, which protects its versions."""
    return endpoint.is_active or endpoint.state in PROTECTING_ENDPOINT_STATES


def served_by(endpoint: DeployedEndpoint) -> DeployedModel:
    """The error where one of our endpoints protects a version."""
    return DeployedModel(
        f"Cannot delete a deployed model. Endpoint {endpoint.service_name} is {endpoint.state}."
    )


def served_by_revision(row: EndpointTraffic) -> DeployedModel:
    """The error where requests to an endpoint reach a version, as a sweep or an operation saw.

    The endpoint of another project is not named (law 10).
    """
    where = f"{row.revision} of {row.endpoint.service_name}"
    if row.run is None or row.endpoint.project_id != row.run.project_id:
        where = "of an endpoint of another project"
    return DeployedModel(
        f"Cannot delete a deployed model. Revision {where} has {row.words}.",
        advice="On Cloud Run, send that traffic to another revision and remove the tag; then check "
        "the registry again. Or undeploy the endpoint.",
    )


def served_on_cloud_run(service: ServiceFacts) -> DeployedModel:
    """The error where Cloud Run serves a version, whatever our rows say."""
    by = f": {service.by}" if service.by else ""
    return DeployedModel(
        f"Cannot delete a deployed model. Cloud Run serves it as {service.service_name}{by}.",
        advice="Undeploy or delete that service first.",
    )


def served_in_vertex_ai(model: RemoteModel) -> DeployedModel:
    """The error where endpoints of Vertex AI serve a version, which it then refuses to delete."""
    return DeployedModel(
        "Cannot delete a deployed model. Vertex AI serves "
        f"{model.name.model_id}@{model.version} at {', '.join(model.endpoints)}.",
        advice="Undeploy it from that endpoint in Vertex AI first.",
    )


def _blocks(
    going: Sequence[VersionFacts],
    endpoints: Sequence[DeployedEndpoint],
    traffic: Sequence[EndpointTraffic],
    services: Sequence[ServiceFacts],
    busy: PlatformError | None,
) -> Iterator[Block]:
    yield from _serving(going, endpoints, traffic, services)
    errors = [(v.protected, v.unsafe, v.refused) for v in going]
    for error in (*chain.from_iterable(zip(*errors, strict=True)), busy):
        if error is not None:
            yield Block(error=error)
    if not going:
        missing = Conflict(
            "There is no version to delete.",
            code="nothing_to_delete",
            advice="It is deleted already, or was never registered.",
        )
        yield Block(error=missing)


def _serving(
    going: Sequence[VersionFacts],
    endpoints: Sequence[DeployedEndpoint],
    traffic: Sequence[EndpointTraffic],
    services: Sequence[ServiceFacts],
) -> Iterator[Block]:
    """What serves a version, each service once: by our rows first."""
    serving = [endpoint for endpoint in endpoints if protects(endpoint)]
    for endpoint in serving:
        yield Block(error=served_by(endpoint), endpoint_id=endpoint.id)
    known = {endpoint.service_name for endpoint in serving}
    for row in traffic:
        if row.endpoint.service_name not in known:
            yield Block(error=served_by_revision(row))
    known |= {row.endpoint.service_name for row in traffic}
    uids = {version.run_uid for version in going}
    for service in services:
        if service.run_uid in uids and service.service_name not in known:
            yield Block(error=served_on_cloud_run(service))
