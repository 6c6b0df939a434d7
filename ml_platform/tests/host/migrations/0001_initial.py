"""The host's tenants."""

from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.contrib.auth.models import PermissionsMixin
from django.db import migrations, models

from ml_platform.tests.host.models import KEY, own_key

mixin = PermissionsMixin._meta
RIGHTS = [(field.name, field.clone()) for field in [*mixin.fields, *mixin.many_to_many]]
PEOPLE = [
    migrations.CreateModel(
        name="Person",
        fields=[
            ("password", models.CharField(max_length=128, verbose_name="password")),
            (
                "last_login",
                models.DateTimeField(blank=True, null=True, verbose_name="last login"),
            ),
            ("id", own_key()),
            ("email", models.EmailField(max_length=254, unique=True)),
            ("is_staff", models.BooleanField(default=False)),
            *RIGHTS,
        ],
    )
]


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length")
        if KEY != "integer"
        else migrations.swappable_dependency(settings.AUTH_USER_MODEL)
    ]

    operations = [
        *(PEOPLE if KEY != "integer" else []),
        migrations.CreateModel(
            name="Shop",
            fields=[
                ("id", own_key()),
                ("title", models.CharField(max_length=80)),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
    ]
