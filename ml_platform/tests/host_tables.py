"""Tables of a host beside ours: those of the incident's platform, as far as its mapping reads them.

They belong to no installed app, because that platform's has the name of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection, models

TEXT, NUMBER, TIME = models.TextField(), models.IntegerField(), models.DateTimeField()
YES, JSON, CLOCK, FLOAT = (
    models.BooleanField(), models.JSONField(), models.TimeField(), models.FloatField()
)  # fmt: skip
METRICS = (
    "loss", "recall_at_5", "recall_at_10", "recall_at_50", "recall_at_100", "rmse", "mae",
    "test_rmse", "test_mae", "auc_roc", "test_auc_roc",
)  # fmt: skip

Table = Mapping[str, models.Field[Any, Any]]
TABLES: Mapping[str, Table] = {
    "ml_platform_modelendpoint": {"name": TEXT, "description": TEXT, "created_by_id": NUMBER},
    "training_registeredmodel": {
        "ml_model_id": NUMBER, "model_name": TEXT, "model_type": TEXT, "description": TEXT,
        "vertex_model_resource_name": TEXT,
    },
    "training_trainingrun": {
        "ml_model_id": NUMBER, "name": TEXT, "model_type": TEXT, "status": TEXT, "is_blessed": YES,
        "vertex_model_resource_name": TEXT, "vertex_model_version": TEXT, "registered_at": TIME,
        "gcs_artifacts_path": TEXT, "training_params": JSON, "gpu_config": JSON,
        "error_stage": TEXT, "error_message": TEXT, "schedule_id": NUMBER,
        "vertex_pipeline_job_name": TEXT, "created_by_id": NUMBER, "created_at": TIME,
        "started_at": TIME, "completed_at": TIME, **dict.fromkeys(METRICS, FLOAT),
    },
    "training_trainingschedule": {
        "ml_model_id": NUMBER, "registered_model_id": NUMBER, "name": TEXT, "status": TEXT,
        "schedule_type": TEXT, "schedule_time": CLOCK, "schedule_day_of_week": NUMBER,
        "schedule_day_of_month": NUMBER, "scheduled_datetime": TIME, "schedule_timezone": TEXT,
        "training_params": JSON, "cloud_scheduler_job_name": TEXT, "created_by_id": NUMBER,
        "created_at": TIME,
    },
    "training_deployedendpoint": {
        "registered_model_id": NUMBER, "service_name": TEXT, "service_url": TEXT,
        "deployed_training_run_id": NUMBER, "is_active": YES, "model_deleted": YES,
        "created_at": TIME,
    },
}  # fmt: skip


def make_tables() -> None:
    """Create all of them, in the test's transaction."""
    for table, fields in TABLES.items():
        columns = ", ".join(f"{name} {field.db_type(connection)}" for name, field in fields.items())
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {table} (id integer PRIMARY KEY, {columns})")


def insert(table: str, key: int, **values: Any) -> None:
    """Write a row; what is not given is NULL."""
    ready = {name: _prepared(table, name, value) for name, value in values.items()}
    names, marks = ", ".join(ready), ", ".join(["%s"] * (len(ready) + 1))
    with connection.cursor() as cursor:
        cursor.execute(  # our own names
            f"INSERT INTO {table} (id, {names}) VALUES ({marks})",  # noqa: S608
            [key, *ready.values()],
        )


def update(table: str, key: int, **values: Any) -> None:
    """Change a row."""
    ready = {name: _prepared(table, name, value) for name, value in values.items()}
    sets = ", ".join(f"{name} = %s" for name in ready)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {sets} WHERE id = %s", [*ready.values(), key])  # noqa: S608


def _prepared(table: str, name: str, value: Any) -> Any:
    return TABLES[table][name].get_db_prep_save(value, connection)
