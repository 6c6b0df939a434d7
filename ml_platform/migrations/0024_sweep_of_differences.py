from django.db import migrations, models

CONTENT = "The sweep that wrote it, and a digest of what it wrote: the same is not written again."


def content(mirror):
    return migrations.AddField(
        model_name=mirror,
        name="content",
        field=models.CharField(
            blank=True, db_default="", default="", help_text=CONTENT, max_length=64
        ),
    )


class Migration(migrations.Migration):
    dependencies = [
        ("ml_platform", "0023_counters"),
    ]

    operations = [
        content("mirroredmodel"),
        content("mirroredartifacts"),
        content("mirroredservice"),
        content("mirroredjob"),
        content("mirroredendpoint"),
        migrations.AddField(
            model_name="mirroredartifacts",
            name="manifest_digest",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Of the folder that the manifest of its version names; empty without one.",
                max_length=40,
            ),
        ),
        migrations.AlterField(
            model_name="manifest",
            name="checked_at",
            field=models.DateTimeField(
                help_text="When the comparison began that wrote the state.", null=True
            ),
        ),
        migrations.AddField(
            model_name="manifest",
            name="in_sweeps",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Each listing of the files since then said the same.",
            ),
        ),
        migrations.AlterField(
            model_name="registeredmodel",
            name="registry_checked_at",
            field=models.DateTimeField(
                blank=True, help_text="When the sweep began that wrote the state.", null=True
            ),
        ),
        migrations.AddField(
            model_name="registeredmodel",
            name="registry_in_sweeps",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Each reading of Vertex AI since then judged it so: the answer is of the "
                "newest.",
            ),
        ),
    ]
