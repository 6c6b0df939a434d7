"""The host's tenants: no field of theirs is named as ours."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Shop(models.Model):
    """What stands for our Project here."""

    title = models.CharField(max_length=80)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)

    objects: models.Manager[Shop] = models.Manager()

    class Meta:
        app_label = "host"

    def __str__(self) -> str:
        return self.title


def shops_of(user: models.Model) -> models.QuerySet[Shop]:
    """What ML_PLATFORM["PROJECTS_FOR_USER"] names."""
    return Shop.objects.filter(owner=user.pk)
