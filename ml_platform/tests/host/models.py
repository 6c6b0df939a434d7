"""The host's tenants: no field of theirs is named as ours."""

from __future__ import annotations

import os
import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models

from .apps import LABEL


class PersonManager(BaseUserManager[Any]):
    """Makes users whose e-mail address is as long as it may be."""

    def create_user(self, name: str, **fields: Any) -> Any:
        """A user without a password."""
        person = self.model(email=f"{name}@{'x' * 200}.example", **fields)
        person.set_unusable_password()
        person.save(using=self._db)
        return person

    def create_superuser(self, name: str) -> Any:
        """A user with every right."""
        return self.create_user(name, is_staff=True, is_superuser=True)


KEY = os.environ.get("HOST_KEY", "integer")
"""The kind of the primary keys of shops, and of users: integer, uuid or text."""


def own_key() -> models.Field[Any, Any]:
    """A primary key of that kind."""
    if KEY == "uuid":
        return models.UUIDField(primary_key=True, default=uuid.uuid4, serialize=False)
    if KEY == "text":
        return models.CharField(primary_key=True, max_length=64, default=text_key, serialize=False)
    return models.BigAutoField(primary_key=True, serialize=False)


def text_key() -> str:
    """A key that needs quoting in an address."""
    return f"shops/Łódź {uuid.uuid4().hex[:8]}: 100%"


if KEY != "integer":

    class Person(AbstractBaseUser, PermissionsMixin):
        """A user that signs in by e-mail address."""

        id = own_key()
        email = models.EmailField(unique=True)
        is_staff = models.BooleanField(default=False)

        USERNAME_FIELD = "email"

        objects = PersonManager()

        class Meta:
            app_label = LABEL


class Shop(models.Model):
    """What stands for our Project here."""

    id = own_key()
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
