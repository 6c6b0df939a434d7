"""Rows as the first release that people installed wrote them, under its own migration 0001."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

APP = "ml_platform"
FIRST = "0001_initial"
AT = datetime(2026, 11, 25, 16, tzinfo=UTC)
PARENT = "projects/1/locations/europe-central2/models/mlp-a-1"
PREFIX = "gs://demo-artifacts/runs/a/"
OPERATIONS = {
    "deploy": ("succeeded", "record", "deploy-version", "operation_succeeded"),
    "alias": ("failed", "", "change-aliases", "operation_refused"),
    "delete": ("running", "delete", "delete-versions", "operation_started"),
    "submit": ("pending", "", "submit-run", "operation_started"),
    "register": ("cancelled", "upload", "register-run", "operation_cancelled"),
}
"""By kind: status, step; then what the migrations make of it: the workflow, and an event."""


def seed(apps: Any, *, project: Any, user: Any) -> None:
    """At least one row in each table. `apps` has the models as that release had them."""

    def make(table: str, /, **fields: Any) -> Any:
        return apps.get_model(APP, table).objects.create(**fields)

    ours = {"project_id": project}
    lineage = make("RegisteredModel", **ours, model_name="chern", next_version=2)
    schedule = make(
        "TrainingSchedule", **ours, name="nightly", model_name="chern", registered_model=lineage,
        frequency="daily", cron="0 2 * * *", time_zone="Europe/Warsaw",
    )  # fmt: skip
    run = make(
        "TrainingRun", **ours, model_name="chern", registered_model=lineage, schedule=schedule,
        scheduled_for=AT, status="completed", progress=100, is_blessed=True, metrics={"r": 0.5},
        gcs_artifacts_path=PREFIX, registration="registered", version=1, registered_at=AT,
        vertex_model_resource_name=PARENT, vertex_model_name="mlp-a-1", vertex_model_version="1",
        aliases=["default"], watched_at=AT, created_by_id=user,
    )  # fmt: skip
    make("TrainingRun", **ours, model_name="lost", rerun_of=run, former_vertex_version="m@2")
    apps.get_model(APP, "RegisteredModel").objects.update(
        vertex_model_resource_name=PARENT, total_versions=1, latest_run=run,
        latest_registered_at=AT, registry_state="verified", registry_checked_at=AT,
    )  # fmt: skip
    endpoint = make(
        "DeployedEndpoint", **ours, registered_model=lineage, service_name="chern", state="active",
        is_active=True, run=run, url="https://chern.example", config={"cpu": "2"}, deployed_at=AT,
    )  # fmt: skip
    make("ServiceDay", **ours, service_name="chern", endpoint=endpoint, day=AT.date(), read_at=AT)
    swept = make("Sweep", status="complete", actor_label="ana", counts={"vertex": 1})
    seen = {"seen_sweep": swept, "seen_at": AT}
    make("MirroredModel", **seen, model_id="mlp-a-1", resource_name=PARENT, version="1")
    make("MirroredService", **seen, service_name="chern", serving_revisions=["chern-1"])
    make("MirroredArtifacts", **seen, prefix=PREFIX)
    for number, (kind, (status, step, *_)) in enumerate(OPERATIONS.items()):
        make(
            "Operation", **ours, kind=kind, status=status, step=step, lineage=lineage,
            actor_id=user, actor_label="ana", origin="api", subject_type="registeredmodel",
            subject_name="chern", created_at=AT + timedelta(minutes=number), data={"v": "a"},
            finished_at=None if status in ("running", "pending") else AT + timedelta(hours=1),
            error_code="busy" if status == "failed" else "",
        )  # fmt: skip
    make(
        "Finding", **ours, kind="orphan", subject="chern", title="x", looks=3, first_sweep=swept,
        last_sweep=swept, registered_model=lineage, first_seen_at=AT, last_seen_at=AT,
    )  # fmt: skip
    make("KeptAnswer", user_id=user, key="k", request_digest="d", status=202, created_at=AT)
    make("ApiToken", user_id=user, name="ci", digest="d", expires_at=AT)


def tables() -> dict[str, list[dict[str, Any]]]:
    """All rows of our tables, each with its columns by name."""
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table.startswith(f"{APP}_"):
                cursor.execute(f'SELECT * FROM "{table}" ORDER BY 1')  # noqa: S608 - its own name
                columns = [column[0] for column in cursor.description]
                found[table] = [dict(zip(columns, row, strict=True)) for row in cursor]
    return found


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Each table and column of before whose values are other ones now, or gone."""
    found = []
    for table, rows in before.items():
        for column in rows[0] if rows else ():
            now = [row.get(column) for row in after.get(table, ())]
            if now != [row[column] for row in rows]:
                found.append(f"{table}.{column}")
    return found
