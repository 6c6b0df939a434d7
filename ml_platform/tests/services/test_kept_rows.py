"""What lists search and sort by is as the models are, whoever writes them, after migrations too."""

from __future__ import annotations

import math
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, models
from django.db.migrations import Migration

from ml_platform.models import ModelMetric, ModelName, Project, RegisteredModel, TrainingRun
from ml_platform.models.counting.install import has_index, is_installed
from ml_platform.models.counting.migrating import after_migrations, before_migrations
from ml_platform.models.registry import kept_rows
from ml_platform.services.registry.lineages import sync_version_cache
from ml_platform.services.registry.model_list import model_filter
from ml_platform.tests.factories import RegisteredModelFactory, version_of

PLAN = [(Migration("0001_x", "ml_platform"), False)]


def metrics_of(model: RegisteredModel) -> dict[str, float]:
    return dict(ModelMetric.objects.filter(registered_model=model).values_list("key", "value"))


def found(text: str) -> list[str]:
    rows = RegisteredModel.objects.filter(model_filter(search=text)).order_by("pk")
    return list(rows.values_list("model_name", flat=True))


def disagreements() -> list[str]:
    """What a comparison by Python finds wrong."""
    names = dict(RegisteredModel.objects.values_list("pk", "model_name"))
    kept = dict(ModelName.objects.values_list("pk", "name"))
    wrong = [f"name {key}" for key in names.keys() ^ kept.keys() | (names.items() ^ kept.items())]
    for model in RegisteredModel.objects.select_related("latest_run"):
        given = model.latest_run.metrics if model.latest_run else {}
        numbers = {
            key: value
            for key, value in (given.items() if isinstance(given, dict) else ())
            if type(value) in (int, float) and abs(value) < 1e308 and len(key) <= 200
        }
        wrong += [f"metrics {model}"] if metrics_of(model) != numbers else []
    return wrong


@pytest.mark.django_db
def test_the_metrics_are_those_of_the_newest_version():
    model = RegisteredModelFactory.create(model_name="rank")
    first = version_of(model)
    assert metrics_of(model) == {}
    given = {
        "auc": 0.5, "n": 3, "big": -(2**63), "tiny": 5e-324, "zero": 0, "most": 1.7e308,
        "text": "0.5", "flag": True, "none": None, "inner": {"auc": 1}, "list": [1],
        "x" * 200: 1.5, "x" * 201: 1.5, "recall@100": 0.125, "it's \"é\" :%": 2.0,
    }  # fmt: skip
    TrainingRun.objects.filter(pk=first.pk).update(metrics=given)
    assert metrics_of(model) == {
        "auc": 0.5, "n": 3.0, "big": -float(2**63), "tiny": 5e-324, "zero": 0.0,
        "x" * 200: 1.5, "recall@100": 0.125, "it's \"é\" :%": 2.0,
    }  # fmt: skip
    second = version_of(model)
    assert metrics_of(model) == {}
    TrainingRun.objects.filter(pk=second.pk).update(metrics={"auc": 0.75})
    TrainingRun.objects.filter(pk=first.pk).update(metrics={"auc": 0.25})
    assert metrics_of(model) == {"auc": 0.75}
    TrainingRun.objects.filter(pk=second.pk).update(
        registration="deleted", vertex_model_resource_name="", vertex_model_name="",
        vertex_model_version="", registered_at=None,
    )  # fmt: skip
    sync_version_cache(registered_model=model)
    assert metrics_of(model) == {"auc": 0.25}
    TrainingRun.objects.filter(pk=first.pk).update(metrics=[0.25])
    assert metrics_of(model) == {}
    never = RegisteredModelFactory.create(model_name="never")
    assert disagreements() == []
    RegisteredModel.objects.filter(pk=never.pk).delete()
    assert disagreements() == []


@pytest.mark.django_db
def test_an_installation_corrects_what_was_written_without_the_triggers():
    model, other = (version_of(RegisteredModelFactory.create()) for _ in range(2))
    gone = RegisteredModelFactory.create(model_name="gone_now")
    before_migrations(using=DEFAULT_DB_ALIAS, plan=PLAN)
    assert not is_installed(DEFAULT_DB_ALIAS)
    RegisteredModel.objects.filter(pk=model.registered_model_id).update(model_name="by_the_way")
    TrainingRun.objects.filter(pk=other.pk).update(metrics={"auc": math.pi, "text": "x"})
    RegisteredModel.objects.filter(pk=gone.pk).delete()
    ModelMetric.objects.create(registered_model_id=model.registered_model_id, key="old", value=1)
    RegisteredModelFactory.create(model_name="meanwhile")
    assert found("gone") == []
    assert len(disagreements()) >= 3
    for _ in range(2):
        after_migrations(using=DEFAULT_DB_ALIAS)
        assert is_installed(DEFAULT_DB_ALIAS)
        assert disagreements() == []
    assert (found("the_way"), found("meanwhile")) == (["by_the_way"], ["meanwhile"])


@pytest.mark.django_db
def test_where_the_tables_are_not_nothing_is_left(monkeypatch: Any):
    RegisteredModelFactory.create(model_name="rank_it")
    with monkeypatch.context() as patched:
        before_migrations(using=DEFAULT_DB_ALIAS, plan=PLAN)
        patched.setattr(kept_rows, "TABLES", {"ml_platform_none"})
        after_migrations(using=DEFAULT_DB_ALIAS)
    assert not has_index(DEFAULT_DB_ALIAS)
    RegisteredModelFactory.create(model_name="rank_that")
    after_migrations(using=DEFAULT_DB_ALIAS)
    assert found("rank") == ["rank_it", "rank_that"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_a_change_of_each_table_loses_nothing():
    """Django makes another table in its place on SQLite, of the host's Project too."""
    model = version_of(RegisteredModelFactory.create(model_name="rank")).registered_model
    tables = (RegisteredModel, TrainingRun, ModelName, ModelMetric, Project)
    constraints = [
        models.CheckConstraint(
            condition=models.Q(pk__isnull=False), name=f"mlp_test_{table._meta.model_name}"
        )
        for table in tables
    ]
    for change in ("add_constraint", "remove_constraint"):
        before_migrations(using=DEFAULT_DB_ALIAS, plan=PLAN)
        with connection.schema_editor() as editor:
            for table, constraint in zip(tables, constraints, strict=True):
                getattr(editor, change)(table, constraint)
        after_migrations(using=DEFAULT_DB_ALIAS)
        newest = version_of(model)
        TrainingRun.objects.filter(pk=newest.pk).update(metrics={"auc": newest.version})
        RegisteredModelFactory.create(model_name=f"rank_{change}")
        assert disagreements() == []
    assert found("ank") == ["rank", "rank_add_constraint", "rank_remove_constraint"]
