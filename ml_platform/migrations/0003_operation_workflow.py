"""Give every operation its workflow. Nothing but our own tables is read.

Not one transaction: a backfill in the transaction that adds the column would lock the table until
it ends. What a crash leaves half done is finished when the migration runs again.
"""

import hashlib
import json

from django.db import migrations, models

CHUNK = 500

OF_KIND = {
    "submit": "submit-run",
    "cancel": "cancel-run",
    "register": "register-run",
    "adopt": "adopt-model",
    "alias": "change-aliases",
    "deploy": "deploy-version",
    "redeploy": "redeploy-endpoint",
    "undeploy": "undeploy-endpoint",
    "delete": "delete-versions",
    "repair": "clear-stale-pointers",
    "cleanup": "delete-duplicate-versions",
    "schedule": "create-schedule",
    "ignore": "ignore-finding",
    "unignore": "reopen-finding",
    "metrics": "collect-metrics",
    "sweep": "check-registry",
}
OF_SUBJECT = {
    ("delete", "deployedendpoint"): "delete-endpoint",
    ("repair", "deployedendpoint"): "check-service",
    ("repair", "vertexmodel"): "delete-unmanaged-model",
    ("cleanup", "artifacts"): "clean-up-artifacts",
    ("cleanup", "orphans"): "clean-up-orphans",
    ("cleanup", "service"): "delete-leftover-service",
    ("cleanup", "trainingrun"): "delete-run",
    ("schedule", "schedulerjob"): "set-up-job",
}
OF_STEP = {
    "find_lost": "restore-lost-versions",
    "restore": "restore-lost-versions",
    "check_unmanaged": "delete-unmanaged-model",
    "delete_model": "delete-unmanaged-model",
    "look_at_service": "check-service",
    "read_leftover": "delete-leftover-service",
    "mark_artifacts": "clean-up-artifacts",
    "delete_orphan": "delete-orphan",
}
"""Kinds that held several programs, told apart by the step they began with."""
OF_SCHEDULE_STATE = {
    "Active": "resume-schedule",
    "Paused": "pause-schedule",
    "Cancelled": "end-schedule",
    "Completed": "end-schedule",
}


def slug_of(operation):
    """Return the workflow of an operation that was opened without one."""
    kind, subject = operation.kind, operation.subject_type
    if slug := OF_SUBJECT.get((kind, subject)):
        return slug
    if kind in ("repair", "cleanup"):
        first = operation.steps[0].get("step", "") if operation.steps else operation.step
        return OF_STEP.get(first) or OF_STEP.get(operation.step) or OF_KIND[kind]
    if kind == "redeploy" and operation.subject_id.isdecimal():
        request = {"endpoint": int(operation.subject_id), "rollback": True}
        if operation.request_digest == _digest(request):
            return "rollback-endpoint"
    if kind == "schedule" and operation.request_digest == _digest({}):
        return OF_SCHEDULE_STATE.get(operation.reason, OF_KIND[kind])
    return OF_KIND.get(kind, kind)


def _digest(request):
    return hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()


def fill(apps, schema_editor):
    """Fill the column, chunk by chunk; each chunk is committed by itself."""
    alias = schema_editor.connection.alias
    operations = apps.get_model("ml_platform", "Operation").objects.using(alias)
    columns = (
        "pk", "kind", "subject_type", "subject_id", "step", "steps", "reason", "request_digest",
    )  # fmt: skip
    empty = operations.filter(workflow="").only(*columns).order_by("pk")
    chunk = list(empty[:CHUNK])
    while chunk:
        slugs = {}
        for operation in chunk:
            slugs.setdefault(slug_of(operation), []).append(operation.pk)
        for slug, keys in slugs.items():
            operations.filter(pk__in=keys, workflow="").update(workflow=slug)
        chunk = list(empty.filter(pk__gt=chunk[-1].pk)[:CHUNK])


class AddColumn(migrations.AddField):
    """Adds the column in a transaction of its own, unless an interrupted run has added it."""

    atomic = True

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        table = to_state.apps.get_model(app_label, self.model_name)._meta.db_table
        connection = schema_editor.connection
        with connection.cursor() as cursor:
            there = connection.introspection.get_table_description(cursor, table)
        if self.name not in {column.name for column in there}:
            super().database_forwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("ml_platform", "0002_sweep_heartbeat")]

    operations = [
        AddColumn(
            model_name="operation",
            name="workflow",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Names the program that carries it out; empty when the release before opened it.",
                max_length=48,
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop, elidable=True),
    ]
