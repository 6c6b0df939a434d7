"""The event log, with one event for each operation before it, so that no history is lost."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

SHARED = [
    "project_id", "subject_type", "subject_id", "subject_name", "lineage_id",
    "actor_id", "actor_label", "origin",
]
KINDS = {"pending": "started", "running": "started"}


def add_past_operations(apps, schema_editor):
    """Record each operation as it stands, oldest first: refused if it failed before a step."""
    operations = apps.get_model("ml_platform", "Operation")
    event = apps.get_model("ml_platform", "Event")
    rows = operations.objects.using(schema_editor.connection.alias)
    columns = [*SHARED, "pk", "status", "step", "error", "error_code", "advice"]
    batch = []
    for row in rows.order_by("created_at").values(*columns, "created_at", "finished_at").iterator():
        refused = row["status"] == "failed" and not row["step"]
        kind = "refused" if refused else KINDS.get(row["status"], row["status"])
        failure = {name: row[name] for name in ("error_code", "error", "advice") if row[name]}
        batch.append(
            event(
                kind=f"operation_{kind}",
                operation_id=row["pk"],
                after=failure,
                at=row["finished_at"] or row["created_at"],
                **{name: row[name] for name in SHARED},
            )
        )
        if len(batch) == 1000:
            event.objects.using(rows.db).bulk_create(batch)
            batch = []
    event.objects.using(rows.db).bulk_create(batch)


class Migration(migrations.Migration):

    dependencies = [
        ('ml_platform', '0004_plain_names'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Event',
            fields=[
                ('seq', models.BigAutoField(primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('operation_started', 'Operation started'), ('operation_retried', 'Operation retried'), ('operation_succeeded', 'Operation succeeded'), ('operation_failed', 'Operation failed'), ('operation_cancelled', 'Operation cancelled'), ('operation_refused', 'Refused'), ('run_ended', 'Training run ended'), ('run_deleted', 'Training run deleted'), ('model_registered', 'Version registered'), ('model_deleted', 'Orphan deleted'), ('version_lost', 'Version lost'), ('version_restored', 'Version restored'), ('version_deleted', 'Version deleted'), ('deployed', 'Deployed'), ('undeployed', 'Undeployed'), ('endpoint_deleted', 'Endpoint deleted'), ('finding_opened', 'Finding opened'), ('finding_closed', 'Finding closed'), ('finding_repaired', 'Finding repaired'), ('finding_ignored', 'Finding ignored'), ('finding_reopened', 'Finding reopened')], max_length=32)),
                ('subject_type', models.CharField(blank=True, default='', max_length=32)),
                ('subject_id', models.CharField(blank=True, default='', max_length=64)),
                ('subject_name', models.CharField(blank=True, default='', max_length=255)),
                ('actor_label', models.CharField(blank=True, default='', max_length=150)),
                ('origin', models.CharField(blank=True, default='', help_text='As of an operation, or sweep.', max_length=16)),
                ('before', models.JSONField(blank=True, default=dict, help_text='The fields before the change.')),
                ('after', models.JSONField(blank=True, default=dict, help_text='The fields after it.')),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('actor', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('lineage', models.ForeignKey(blank=True, db_constraint=False, db_index=False, help_text='The lineage that the subject belongs to.', null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='events', to='ml_platform.registeredmodel')),
                ('operation', models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='events', to='ml_platform.operation')),
                ('project', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.ML_PLATFORM_PROJECT_MODEL)),
            ],
            options={
                'indexes': [models.Index(fields=['project', '-seq'], name='mlp_event_project'), models.Index(fields=['subject_type', 'subject_id', '-seq'], name='mlp_event_subject'), models.Index(fields=['lineage', '-seq'], name='mlp_event_lineage'), models.Index(fields=['operation', '-seq'], name='mlp_event_operation')],
            },
        ),
        migrations.RunPython(add_past_operations, migrations.RunPython.noop),
    ]
