"""Rows of the model list as the API answers them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.apps import apps
from django.db.models import Exists, Model, OuterRef, QuerySet

from ml_platform.conf import project_model
from ml_platform.kpis import VertexReading, registered_models
from ml_platform.models import (
    DeployedEndpoint,
    RegisteredModel,
    TrainingRun,
)
from ml_platform.models.endpoints.serving_status import (
    ServingStatus,
    serving_status,
    with_serves_newest,
)
from ml_platform.services.artifacts.manifest import files_checked_at
from ml_platform.services.registry.registry_state import answered_at, registry_verdict

from .base import Json, project_json
from .models import VERSION

Row = Mapping[str, Any]


_LINEAGE = (
    "pk", "model_name", "model_type", "total_versions", "latest_run", "latest_registered_at",
    "vertex_model_resource_name", "registry_state", "registry_checked_at",
    "registry_in_sweeps", "description",
    "created_at", "latest_run__uid",
)  # fmt: skip


def rows_of(models: QuerySet[RegisteredModel]) -> QuerySet[RegisteredModel, dict[str, Any]]:
    """The columns of these models, their newest versions and projects, as plain rows."""
    versions = (f"latest_run__{column}" for column in VERSION.values())
    projects = (f"project__{column}" for column in _project_columns())
    models = models.annotate(latest_run__files_checked_at=files_checked_at("latest_run__"))
    rows: QuerySet[RegisteredModel, dict[str, Any]] = models.values(*_LINEAGE, *versions, *projects)
    return rows


def serving_of(endpoints: QuerySet[DeployedEndpoint]) -> list[Row]:
    """All active endpoints of registered models, the newest first; they are few."""
    registered = registered_models().filter(pk=OuterRef("registered_model"))
    rows = endpoints.filter(Exists(registered), is_active=True).order_by("-deployed_at", "-pk")
    return list(
        with_serves_newest(rows).values(
            "pk",
            "registered_model",
            "serves_newest",
            "run__version",
            "service_name",
            "url",
        )
    )


def lines_json(
    rows: Sequence[Row], serving: Collection[Row], base: str, reading: VertexReading
) -> list[Json]:
    """The rows as JSON; `base` is the address of the list."""
    endpoints: dict[int, list[Row]] = {}
    for endpoint in serving:
        endpoints.setdefault(endpoint["registered_model"], []).append(endpoint)
    projects: dict[Any, Json] = {}
    return [
        {
            "id": row["pk"],
            "name": row["model_name"],
            "type": row["model_type"],
            "project": _project(row, projects),
            "versions": row["total_versions"],
            "latest_version": row["latest_run"]
            and {name: row[f"latest_run__{column}"] for name, column in VERSION.items()},
            "deployment": _deployment(endpoints.get(row["pk"], ())),
            "vertex_model_resource_name": row["vertex_model_resource_name"],
            **_registry(row, reading),
            "created_at": row["created_at"],
            "url": f"{base}{row['pk']}/",
        }
        for row in rows
    ]


def kpi_json(serving: Collection[Row], total: int) -> Json:
    """How many models are deployed, outdated and idle."""
    served: dict[int, list[bool]] = {}
    for endpoint in serving:
        served.setdefault(endpoint["registered_model"], []).append(endpoint["serves_newest"])
    counts = Counter(serving_status(newest) for newest in served.values())
    return {
        "total": total,
        "deployed": counts[ServingStatus.DEPLOYED],
        "outdated": counts[ServingStatus.OUTDATED],
        "idle": total - len(served),
    }


def newest_run(row: Row) -> TrainingRun | None:
    """A row's newest version, with the columns that its verification needs."""
    if row["latest_run"] is None:
        return None
    return TrainingRun(
        pk=row["latest_run"],
        uid=row["latest_run__uid"],
        model_name=row["model_name"],
        vertex_model_resource_name=row["latest_run__vertex_model_resource_name"],
        vertex_model_version=row["latest_run__vertex_model_version"],
    )


def _registry(row: Row, reading: VertexReading) -> Json:
    """What the newest sweep says of a model."""
    state = row["registry_state"]
    checked_at = answered_at(
        row["registry_checked_at"],
        in_sweeps=row["registry_in_sweeps"],
        began_at=reading.began_at,
    )
    verdict = registry_verdict(
        state=state,
        checked_at=checked_at,
        unread=reading.unread,
        fresh_since=reading.fresh_since,
    )
    return {
        "registry_verified": verdict.verified,
        "registry_state": state or "unchecked",
        "registry_reason": verdict.reason,
        "verified_at": checked_at,
    }


def _deployment(serving: Sequence[Row]) -> Json:
    last = serving[0] if serving else None
    return {
        "status": serving_status([endpoint["serves_newest"] for endpoint in serving]),
        "active_endpoints": len(serving),
        "endpoint": last
        and {
            "id": last["pk"],
            "service_name": last["service_name"],
            "url": last["url"],
            "version": last["run__version"],
        },
    }


def _project(row: Row, known: dict[Any, Json]) -> Json:
    """The project of a row, made once; a host's own project model names itself by `__str__`."""
    model = _project_class()
    pk = row[f"project__{model._meta.pk.attname}"]  # noqa: SLF001 - Django's documented name
    if pk not in known:
        columns = _project_columns()
        values = [row[f"project__{column}"] for column in columns]
        known[pk] = project_json(model.from_db(None, columns, values))
    return known[pk]


def _project_class() -> type[Model]:
    return apps.get_model(project_model())


def _project_columns() -> list[str]:
    fields = _project_class()._meta.concrete_fields  # noqa: SLF001 - Django's documented name
    return [field.attname for field in fields]
