"""The host's tenants: no field of theirs is named as ours."""

from __future__ import annotations

import os
import uuid
from typing import Any

from django.conf import settings
from django.db import models

from .apps import LABEL


def shop_key() -> models.Field[Any, Any]:
    """The primary key of a shop: a number, or a UUID where a test wants one."""
    if os.environ.get("HOST_KEY") == "uuid":
        return models.UUIDField(primary_key=True, default=uuid.uuid4, serialize=False)
    return models.BigAutoField(primary_key=True, serialize=False)


class Shop(models.Model):
    """What stands for our Project here."""

    id = shop_key()
    title = models.CharField(max_length=80)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)

    objects: models.Manager[Shop] = models.Manager()

    class Meta:
        app_label = LABEL

    def __str__(self) -> str:
        return self.title


def shops_of(user: models.Model) -> models.QuerySet[Shop]:
    """What ML_PLATFORM["PROJECTS_FOR_USER"] names."""
    return Shop.objects.filter(owner=user.pk)
