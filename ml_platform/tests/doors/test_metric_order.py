"""The list of models sorted by a metric of their newest versions, read by cursor and by page."""

from __future__ import annotations

import random
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from ml_platform.models import ModelTag, Project, RegisteredModel, TrainingRun
from ml_platform.tests.factories import ProjectFactory, RegisteredModelFactory, version_of

from .api_tools import bearer, keeps_contract, member_of

pytestmark = pytest.mark.django_db
KEY = "recall@100 %'é"


@pytest.fixture
def project() -> Project:
    made: Project = ProjectFactory.create()
    return made


def model_with(project: Project, name: str, metrics: dict[str, Any]) -> RegisteredModel:
    model: RegisteredModel = RegisteredModelFactory.create(project=project, model_name=name)
    run = version_of(model)
    TrainingRun.objects.filter(pk=run.pk).update(metrics=metrics)
    return model


def walked(client: Client, query: str, size: int) -> tuple[list[str], list[str]]:
    """The names by cursor, and by page."""
    by_cursor, by_page, cursor, page = [], [], "", 0
    while cursor or not page:
        page += 1
        path = f"/api/models/?page_size={size}&{query}"
        answer = client.get(f"{path}&cursor={cursor}")
        by_cursor += [item["name"] for item in answer.json()["items"]]
        by_page += [item["name"] for item in client.get(f"{path}&page={page}").json()["items"]]
        cursor = answer.json()["pagination"]["next_cursor"]
        assert len(by_cursor) == answer.json()["pagination"]["total"] or cursor
    after = client.get(f"/api/models/?page_size={size}&{query}&page={page + 1}").json()
    assert after["items"] == []
    return by_cursor, by_page


def test_models_are_sorted_by_a_metric_and_those_without_it_come_last(project: Project):
    dice = random.Random(7)
    values: dict[str, float | None] = {}
    ids = {}
    for number in range(23):
        name = f"{'ab'[number % 2]}-{number}"
        value = dice.choice([None, None, -1.5, 0, 0.1 + 0.2, 1e-310, 3, 2.0**60])
        model = model_with(
            project, name, {"other": number} | ({KEY: value} if value is not None else {})
        )
        values[name], ids[name] = value, model.pk
        if number % 3 == 0:
            ModelTag.objects.create(registered_model=model, key="team")
    model_with(ProjectFactory.create(), "foreign", {KEY: 5})
    client = bearer(member_of(project))
    for query, names in (
        ("", list(values)),
        ("&search=a", [name for name in values if name[0] == "a"]),
        ("&tag=team", list(values)[::3]),
    ):
        for sign in (1, -1):
            ordered = sorted(
                names,
                key=lambda name: (
                    values[name] is None, sign * (values[name] or 0), sign * ids[name]
                ),
            )  # fmt: skip
            asked = f"sort={'-' * (sign < 0)}metric:{quote(KEY)}{query}"
            for size in (5, 23):
                assert walked(client, asked, size) == (ordered, ordered), (asked, size)
    answer = client.get(f"/api/models/?sort=metric:{quote(KEY)}")
    keeps_contract(answer, "/api/models/")
    assert answer.json()["kpi"]["total"] == 23
    empty, pages = walked(client, "sort=-metric:none-has-it", 10)
    assert empty == pages == sorted(values, key=lambda name: -ids[name])


def test_the_newest_version_counts(project: Project):
    first = model_with(project, "first", {KEY: 0.9})
    model_with(project, "second", {KEY: 0.5})
    client = bearer(member_of(project))
    path = f"/api/models/?sort=-metric:{quote(KEY)}"
    assert [item["name"] for item in client.get(path).json()["items"]] == ["first", "second"]
    run = version_of(first)
    TrainingRun.objects.filter(pk=run.pk).update(metrics={KEY: 0.4})
    assert [item["name"] for item in client.get(path).json()["items"]] == ["second", "first"]


def test_a_cursor_is_of_its_metric_and_its_direction(project: Project):
    for number in range(4):
        model_with(project, f"m-{number}", {"auc": number, "loss": number} if number < 2 else {})
    client = bearer(member_of(project))

    def answered(query: str) -> Any:
        return client.get(f"/api/models/?page_size=1&{query}")

    cursor = answered("sort=metric:auc").json()["pagination"]["next_cursor"]
    rest = answered("sort=metric:auc&page=3").json()["pagination"]["next_cursor"]
    assert answered(f"sort=metric:auc&cursor={rest}").json()["items"][0]["name"] == "m-3"
    for sort in ("-metric:auc", "metric:loss", "name"):
        for one in (cursor, rest):
            answer = answered(f"sort={sort}&cursor={one}")
            assert (answer.status_code, answer.json()["code"]) == (422, "bad_cursor")
    for query, code in (
        ("sort=metric:", "invalid_request"),
        ("sort=metric", "invalid_request"),
        (f"sort=metric:{'x' * 201}", "invalid_request"),
        ("sort=--metric:a", "invalid_request"),
        ("sort=metric:a%00", "nul_character"),
        ("sort=metric:auc&cursor=abc", "bad_cursor"),
        (f"sort=metric:auc&cursor={cursor}&page=1", "page_and_cursor"),
    ):
        answer = answered(query)
        assert (answer.status_code, answer.json()["code"]) == (422, code), query
    assert "metric:<name>" in answered("sort=latest_run").json()["detail"]
    assert answered(f"sort=metric:{quote('é' * 200)}").status_code == 200
