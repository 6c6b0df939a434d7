"""ModelCount: how many registered models there are, kept by the database."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, Self, TypeAlias

from django.db import models
from django.db.models import Q, QuerySet, Sum

from ml_platform.conf import project_model
from ml_platform.models.database import PlatformModel, PlatformQuerySet
from ml_platform.models.states import Approval, ModelType, RegistryState, ServingStatus

Projects: TypeAlias = QuerySet[Any] | Collection[Any] | None
"""A queryset of projects or their ids."""


class ModelCountQuerySet(PlatformQuerySet["ModelCount"]):
    """Counts and changes of counts: only their sums mean something."""

    def of(self, projects: Projects) -> Self:
        """Those of these projects; None means of all."""
        if projects is None:
            return self
        if isinstance(projects, QuerySet):
            projects = projects.order_by().values("pk")
        return self.filter(project__in=projects)


class ModelCount(PlatformModel):
    """A signed number of models, and of their versions, with these properties in common.

    The triggers of `models.counting` add a row for each change of a `ListedModel`, in the
    transaction of the change, and change none: no two writers wait for each other. A sweep
    replaces rows of the same properties by their sum.
    """

    project = models.ForeignKey(
        project_model(), on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    model_type = models.CharField(max_length=16, choices=ModelType.choices)
    registry_state = models.CharField(max_length=16, choices=RegistryState.choices, blank=True)
    serving = models.CharField(max_length=16, choices=ServingStatus.choices)
    is_blessed = models.BooleanField(null=True)
    approval = models.CharField(max_length=16, choices=Approval.choices, blank=True)
    n = models.IntegerField()
    versions = models.IntegerField()

    objects: ClassVar = ModelCountQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.n} {self.serving}"


def count_models(projects: Projects = None, **properties: Any) -> int:
    """The number of registered models of these projects with these properties; one statement."""
    rows = ModelCount.objects.of(projects).filter(**properties)
    return int(rows.aggregate(total=Sum("n", default=0))["total"])


def count_by_serving(projects: Projects = None, **properties: Any) -> dict[str, int]:
    """The `total`, and the number of models of each `ServingStatus`; one statement."""
    each = {status.value: Sum("n", filter=Q(serving=status), default=0) for status in ServingStatus}
    rows = ModelCount.objects.of(projects).filter(**properties)
    return rows.aggregate(total=Sum("n", default=0), **each)
