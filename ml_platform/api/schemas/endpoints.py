"""Endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from ninja import Field

from ml_platform.actions.inputs import Id
from ml_platform.models import (
    DeployedEndpoint,
)

from .base import (
    EXAMPLES,
    PAGE_EXAMPLE,
    PROJECT_EXAMPLE,
    Flag,
    Json,
    Listing,
    ModelRef,
    Out,
    ProjectRef,
    RunRef,
    example,
    list_of,
    project_json,
    run_ref,
    url_of,
    when,
)

ENDPOINT_EXAMPLE = {
    "id": 2,
    "project": PROJECT_EXAMPLE,
    "model": {"id": 7, "name": "chern_rank_v4"},
    "service_name": "chern-rank-v4",
    "state": "active",
    "is_active": True,
    "model_deleted": False,
    "run": {"id": 33, "version": 2},
    "intended_run": None,
    "previous_run": {"id": 12, "version": 1},
    "is_outdated": True,
    "serving_truth": "verified",
    "service_url": "https://chern-rank-v4-abc.a.run.app",
    "revision": "chern-rank-v4-00002-abc",
    "config": {"cpu": "1", "memory": "2Gi"},
    "error": "",
    "deployed_at": "2026-02-01T09:00:00Z",
    "created_at": "2026-01-02T09:30:00Z",
    "url": "/api/deployed-endpoints/2/",
}


class EndpointsQuery(Listing):
    """Endpoints."""

    sort: Literal["created", "-created", "name", "-name"] = "-created"
    search: str = Field("", max_length=63, description="A part of the service's name.")
    active: Flag | None = None
    model: Id | None = Field(None, description="Only this registered model's.")


@example(ENDPOINT_EXAMPLE)
class EndpointOut(Out):
    """A Cloud Run service that serves, or served, a version."""

    id: int
    project: ProjectRef
    model: ModelRef
    service_name: str
    state: str
    is_active: bool
    model_deleted: bool
    run: RunRef | None
    intended_run: RunRef | None
    previous_run: RunRef | None
    is_outdated: bool
    serving_truth: Literal["verified", "unverified", "unknown"] | None = Field(
        description="Whether all that it serves is registered, verified and unchanged, as the last "
        "readings say; null if it is not active."
    )
    service_url: str
    revision: str
    config: Any
    error: str
    deployed_at: datetime | None
    created_at: datetime
    url: str


EndpointsOut = list_of("EndpointsOut", EndpointOut, "A part of the list of endpoints.")
EXAMPLES["EndpointsOut"] = {"items": [ENDPOINT_EXAMPLE], "pagination": PAGE_EXAMPLE}


def endpoint_json(endpoint: DeployedEndpoint) -> Json:
    """An endpoint that `with_serving_truth` has annotated, with its lineage and runs beside it."""
    latest = endpoint.registered_model.latest_run_id
    return {
        "id": endpoint.pk,
        "project": project_json(endpoint.project),
        "model": {
            "id": endpoint.registered_model_id,
            "name": endpoint.registered_model.model_name,
        },
        "service_name": endpoint.service_name,
        "state": endpoint.state,
        "is_active": endpoint.is_active,
        "model_deleted": endpoint.model_deleted,
        "run": run_ref(endpoint.run),
        "intended_run": run_ref(endpoint.intended_run),
        "previous_run": run_ref(endpoint.previous_run),
        "is_outdated": endpoint.is_active and latest is not None and endpoint.run_id != latest,
        "serving_truth": endpoint.serving_truth if endpoint.is_active else None,  # type: ignore[attr-defined]
        "service_url": endpoint.url,
        "revision": endpoint.revision,
        "config": endpoint.config,
        "error": endpoint.error,
        "deployed_at": when(endpoint.deployed_at),
        "created_at": when(endpoint.created_at),
        "url": url_of(f"deployed-endpoints/{endpoint.pk}/"),
    }
