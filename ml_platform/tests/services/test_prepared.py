"""A prepared statement returns what the ORM returns for the same values; its text is built once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db.models import Count, QuerySet
from django.utils import timezone

from ml_platform.conf import get_settings
from ml_platform.models import Project, RegisteredModel, TrainingRun
from ml_platform.models.prepared import Prepared, number
from ml_platform.tests.factories import ProjectFactory, RegisteredModelFactory, version_of

pytestmark = pytest.mark.django_db


def runs(*statuses: str, projects: Any, since: Any) -> QuerySet[TrainingRun]:
    """Rows of several tables, with an annotation, narrowed by each kind of value."""
    rows = TrainingRun.objects.select_related("registered_model").filter(registered_at__gte=since)
    rows = rows.annotate(others=Count("registered_model__training_runs")).order_by("pk")
    rows = rows if projects is None else rows.filter(project__in=projects)
    return rows.filter(status__in=statuses) if statuses else rows


def seen(rows: Any) -> list[Any]:
    return [(row.pk, row.others, row.registered_at, row.registered_model.uid) for row in rows]


def test_it_returns_what_the_orm_returns_for_every_value():
    now = timezone.now()
    made = [ProjectFactory.create() for _ in range(3)]
    for age, project in enumerate([*made, *made]):
        lineage = RegisteredModelFactory.create(project=project)
        version_of(lineage, vertex_id=str(age), registered_at=now - timedelta(days=age))
    built: list[Any] = []
    prepared = Prepared(lambda *shape, **values: built.append(shape) or runs(*shape, **values))
    keys = [project.pk for project in made]
    named = Project.objects.filter(name=made[1].name)
    lists = (None, [], keys[:1], keys[1:], keys, named, Project.objects.none())
    for days in (1.5, 9):
        for projects in lists:
            for shape in ((), ("completed",), ("failed",)):
                values = {"projects": projects, "since": now - timedelta(days=days)}
                assert seen(prepared(*shape, **values)) == seen(runs(*shape, **values))
    # None, none, one, two, four and a queryset; `none()` has the text of an empty list.
    assert len(built) == 6 * 3


def test_numbers_are_read_each_time_and_settings_are_not_kept(settings):
    @Prepared
    def counted(*, projects: Any) -> QuerySet[Any, dict[str, Any]]:
        least = get_settings().ORPHAN_DAYS
        rows = RegisteredModel.objects.filter(next_version__gte=least)
        return number(rows.filter(project__in=projects), n=Count("pk"))

    settings.ML_PLATFORM = django_settings.ML_PLATFORM | {"ORPHAN_DAYS": 1}
    lineage = RegisteredModelFactory.create()
    mine = [lineage.project_id]
    assert (counted(projects=mine), counted(projects=[])) == ([{"n": 1}], [{"n": 0}])
    RegisteredModelFactory.create(project=lineage.project)
    assert counted(projects=mine) == [{"n": 2}]
    settings.ML_PLATFORM = django_settings.ML_PLATFORM | {"ORPHAN_DAYS": 9}
    assert counted(projects=mine) == [{"n": 0}]
