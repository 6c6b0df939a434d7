from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ml_platform', '0012_approval'),
    ]

    operations = [
        migrations.AddField(
            model_name='finding',
            name='began_at',
            field=models.DateTimeField(blank=True, help_text='When it began to disagree; empty if that is not known.', null=True),
        ),
        migrations.AddField(
            model_name='finding',
            name='began_told',
            field=models.BooleanField(db_default=False, default=False, help_text='Google tells when; otherwise it did not begin before that time.'),
        ),
        migrations.AddField(
            model_name='finding',
            name='ignored_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
