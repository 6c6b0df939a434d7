"""ListedModel: what lists filter by and counters count, for each model, kept by the database."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from ml_platform.conf import project_model
from ml_platform.models.database import PlatformModel, PlatformQuerySet, WithoutRows
from ml_platform.models.states import Approval, ModelType, RegistryState, ServingStatus

from .registered_model import RegisteredModel


class ListedModel(PlatformModel):
    """One row for each model, written by the triggers of `models.counting` and by nothing else.

    It has what is derived from other tables, such as `serving`, and what indexes need beside it. It
    is a table of its own, so that no `save()` of a model that was read before writes it.
    """

    # Without constraints, because the release before this one deletes models and knows no such row.
    model = models.OneToOneField(
        RegisteredModel,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="listed",
    )
    project = models.ForeignKey(
        project_model(), on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    model_type = models.CharField(max_length=16, choices=ModelType.choices)
    registered = models.BooleanField(help_text="Whether it has a version; only then it is counted.")
    registry_state = models.CharField(max_length=16, choices=RegistryState.choices, blank=True)
    serving = models.CharField(max_length=16, choices=ServingStatus.choices)
    is_blessed = models.BooleanField(null=True, help_text="Of the newest version.")
    approval = models.CharField(
        max_length=16, choices=Approval.choices, blank=True, help_text="Of the newest version."
    )
    versions = models.PositiveIntegerField()

    dumped: ClassVar = WithoutRows()
    objects: ClassVar = PlatformQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["serving", "model"], name="mlp_listed_serving")]

    def __str__(self) -> str:
        return f"model {self.pk}: {self.serving}"
