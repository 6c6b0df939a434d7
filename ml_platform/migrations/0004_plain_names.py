"""Names of models and fields as they are called now. The database keeps its tables and columns:
no operation here runs SQL, so that a release before this one goes on working."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ml_platform", "0003_operation_workflow")]

    operations = [
        migrations.AlterModelTable(name="keptanswer", table="ml_platform_keptanswer"),
        migrations.RenameModel(old_name="KeptAnswer", new_name="IdempotentResponse"),
        migrations.AlterModelTable(name="serviceday", table="ml_platform_serviceday"),
        migrations.RenameModel(old_name="ServiceDay", new_name="ServiceDailyMetrics"),
        migrations.AlterField(
            model_name="finding",
            name="looks",
            field=models.PositiveIntegerField(
                db_column="looks", default=1, help_text="Sweeps in a row that saw it."
            ),
        ),
        migrations.RenameField("finding", "looks", "consecutive_sightings"),
        migrations.AlterField(
            model_name="trainingrun",
            name="watched_at",
            field=models.DateTimeField(
                blank=True,
                db_column="watched_at",
                help_text="When a poll last asked for its stage and progress.",
                null=True,
            ),
        ),
        migrations.RenameField("trainingrun", "watched_at", "last_polled_at"),
        migrations.AlterField(
            model_name="trainingrun",
            name="former_vertex_version",
            field=models.CharField(
                blank=True,
                db_column="former_vertex_version",
                default="",
                help_text="name@version this run pointed at before its version was deleted or lost.",
                max_length=272,
            ),
        ),
        migrations.RenameField("trainingrun", "former_vertex_version", "last_vertex_version"),
        # The kinds of findings are a table of the code: a new one needs no migration.
        migrations.AlterField(
            model_name="finding", name="kind", field=models.CharField(max_length=32)
        ),
    ]
