"""ModelName and ModelMetric: what lists search and sort by, kept beside the models by the database.

The triggers of `kept_rows` write them, and nothing else. They are tables of their own, because
their indexes are dear: a sweep rewrites models, but neither their names nor their metrics.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from ml_platform.models.database import PlatformModel, PlatformQuerySet, WithoutRows

from .registered_model import MODEL_NAME_MAX, RegisteredModel

METRIC_MAX = 200
"""Characters of a metric's name by which models can be sorted; PostgreSQL's indexes hold no long
texts."""


class ModelName(PlatformModel):
    """The name of a model, for searches: with an index of the parts of it."""

    # Without constraints, because the release before this one deletes models and knows no such row.
    registered_model = models.OneToOneField(
        RegisteredModel,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="+",
    )
    name = models.CharField(max_length=MODEL_NAME_MAX)

    dumped: ClassVar = WithoutRows()
    objects: ClassVar = PlatformQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [
            # In this class PostgreSQL finds the beginnings of names, whatever its collation.
            models.Index(fields=["name"], opclasses=["varchar_pattern_ops"], name="mlp_name_begins")
        ]

    def __str__(self) -> str:
        return self.name


class ModelMetric(PlatformModel):
    """A numeric metric of a model's newest version."""

    registered_model = models.ForeignKey(
        RegisteredModel,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="metrics",
    )
    key = models.CharField(max_length=METRIC_MAX)
    value = models.FloatField()

    dumped: ClassVar = WithoutRows()
    objects: ClassVar = PlatformQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["registered_model", "key"], name="mlp_metric_unique")
        ]
        indexes: ClassVar = [
            models.Index(fields=["key", "value", "registered_model"], name="mlp_metric_sorted")
        ]

    def __str__(self) -> str:
        return f"{self.key} {self.value}"
