"""ModelTag: a key with a value by which users group and find their models."""

from __future__ import annotations

import re
from typing import ClassVar

from django.db import models

from ml_platform.models.database import PlatformModel

from .registered_model import RegisteredModel

TAGS_MAX = 64
KEY_MAX = 64
VALUE_MAX = 255
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,63}")
"""It has no colon: the filter `key:value` is divided at its first one."""


class ModelTag(PlatformModel):
    """One tag of a registered model. The model keeps it when its last version ends."""

    registered_model = models.ForeignKey(
        RegisteredModel, on_delete=models.PROTECT, db_index=False, related_name="tags"
    )
    key = models.CharField(max_length=KEY_MAX)
    value = models.CharField(max_length=VALUE_MAX, blank=True, default="")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["registered_model", "key"], name="mlp_tag_unique")
        ]
        indexes: ClassVar = [
            models.Index(fields=["key", "value", "registered_model"], name="mlp_tag_found")
        ]

    def __str__(self) -> str:
        return f"{self.key}:{self.value}" if self.value else self.key
