"""Searches find what Python finds in the names, by an index that the database keeps."""

from __future__ import annotations

import random
from typing import Any

import pytest
from django.db import connection

from ml_platform.models import ModelName, RegisteredModel
from ml_platform.services.registry import search
from ml_platform.services.registry.model_list import model_filter
from ml_platform.tests.factories import ProjectFactory

pytestmark = pytest.mark.django_db
ALPHABET = "ab1_-"
ODD = (
    "", "%", "_", "a%", "\\", "\\_", "'", '"', '"a', 'a" OR "b', "a*", "a OR b", "NOT", "NEAR(a b)",
    "name:a", "^a", "a\x00b", "\ud800ab", "é", "ab" * 40, "x" * 100_000, "   ", "a b", "\n", "ABA",
    "--", "-- a", "{a}", "$1", "%s", "%(a)s", "\U0010ffff",
)  # fmt: skip


def names_of(dice: random.Random) -> list[str]:
    made = {
        dice.choice("ab") + "".join(dice.choices(ALPHABET, k=dice.randrange(0, 12)))
        for _ in range(150)
    }
    return [*made, "z" * 63]


def found(text: str) -> set[str]:
    rows = RegisteredModel.objects.filter(model_filter(search=text))
    return set(rows.values_list("model_name", flat=True))


def expected(text: str, names: list[str]) -> set[str]:
    part = text.lower()
    return {name for name in names if (part in name if len(part) > 2 else name.startswith(part))}


@pytest.mark.parametrize("newest", [1000, 10, 1])
def test_a_search_finds_what_python_finds(monkeypatch: Any, newest: int):
    """Also where so many names have the part that the list is read instead of the index."""
    monkeypatch.setattr(search, "NEWEST", newest)
    dice = random.Random(20)
    names = names_of(dice)
    project = ProjectFactory.create()
    RegisteredModel.objects.bulk_create(
        RegisteredModel(project=project, model_name=name) for name in names
    )
    parts = {
        name[start : start + dice.randrange(1, 9)]
        for name in dice.sample(names, 60)
        for start in range(0, len(name), 3)
    }
    others = {"".join(dice.choices(ALPHABET, k=dice.randrange(1, 6))) for _ in range(60)}
    for text in (*sorted(parts), *sorted(others), *ODD):
        assert found(text) == expected(text, names), text[:80]
    RegisteredModel.objects.filter(model_name=names[0]).update(model_name="renamed_it")
    RegisteredModel.objects.filter(model_name=names[1]).delete()
    names = ["renamed_it", *names[2:]]
    for text in ("renamed", "ned_", "re", *sorted(parts)[:20]):
        assert found(text) == expected(text, names), text


def test_names_are_written_only_when_they_change(django_assert_num_queries: Any):
    project = ProjectFactory.create()
    model = RegisteredModel.objects.create(project=project, model_name="rank")
    assert [str(row) for row in ModelName.objects.all()] == ["rank"]
    ModelName.objects.update(name="known_by_another_name")
    model.registry_state = "verified"
    model.save()  # a sweep's write of every column
    RegisteredModel.objects.update(description="x", model_type="ranking")
    assert found("another_name") == {"rank"}


def test_a_sqlite_without_trigrams_reads_the_names(monkeypatch: Any):
    monkeypatch.setattr(search, "has_trigrams", lambda: False)
    project = ProjectFactory.create()
    RegisteredModel.objects.create(project=project, model_name="chern_rank")
    for text, names in (("RN_R", {"chern_rank"}), ("ch", {"chern_rank"}), ("_r", set())):
        assert found(text) == names
    assert connection.vendor in ("sqlite", "postgresql")
