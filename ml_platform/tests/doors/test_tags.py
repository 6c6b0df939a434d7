"""Tags of models: set and removed by the API, told in the history, filtered by at all doors."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from ml_platform.models import Event, ModelTag, Operation, Project, RegisteredModel
from ml_platform.models.registry.model_tag import TAGS_MAX, VALUE_MAX
from ml_platform.services.access.rights import Right
from ml_platform.tests.factories import ProjectFactory, RegisteredModelFactory

from .api_tools import bearer, keeps_contract, logged_in, member_of, post
from .test_pages_training import model_in, names, url_of

pytestmark = pytest.mark.django_db
TAGS = "/api/models/{}/tags/"


@pytest.fixture
def project() -> Project:
    made: Project = ProjectFactory.create()
    return made


@pytest.fixture
def ana(project: Project) -> Client:
    return bearer(member_of(project, Right.VIEW, Right.TRAIN))


def tags_of(client: Client, model: RegisteredModel) -> dict[str, str]:
    answer = client.get(f"/api/models/{model.pk}/")
    keeps_contract(answer, "/api/models/{model_id}/")
    said: dict[str, str] = answer.json()["tags"]
    return said


def test_tags_are_set_replaced_and_removed_and_each_change_is_an_event(project: Project, ana: Any):
    model = model_in(project, "rank")
    assert tags_of(ana, model) == {}
    for body, tags, told in (
        ({"add": {"team": "search", "a/b.c-d_E": ""}},
         {"team": "search", "a/b.c-d_E": ""}, ({}, {"team": "search", "a/b.c-d_E": ""})),
        ({"add": {"team": "ads: 100 % 'x' é"}, "remove": ["a/b.c-d_E", "none", "team"]},
         {"team": "ads: 100 % 'x' é"},
         ({"team": "search", "a/b.c-d_E": ""}, {"team": "ads: 100 % 'x' é"})),
        ({"remove": ["team"]}, {}, ({"team": "ads: 100 % 'x' é"}, {})),
        ({"remove": ["team"]}, {}, None),
    ):  # fmt: skip
        answer = post(ana, TAGS.format(model.pk), body)
        assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
        keeps_contract(answer, "/api/models/{model_id}/tags/", "post")
        assert tags_of(ana, model) == tags
        event = Event.objects.latest("seq")
        assert (event.lineage_id, event.subject_name) == (model.pk, "rank")
        kind = "tags_changed" if told else "operation_succeeded"
        assert (event.kind, (event.before, event.after)) == (kind, told or ({}, {}))


def test_what_no_tag_can_be_is_refused_in_words_and_changes_nothing(project: Project, ana: Any):
    model = model_in(project, "rank")
    many = {f"k{number}": "" for number in range(TAGS_MAX)}
    assert post(ana, TAGS.format(model.pk), {"add": many}).status_code == 200
    operations = Operation.objects.count()
    for body, code in (
        ({"add": {"one-more": ""}}, "too_many_tags"),
        ({"add": {"a:b": "x"}}, "bad_tag"),
        ({"add": {"": "x"}}, "bad_tag"),
        ({"add": {"-a": "x"}}, "bad_tag"),
        ({"add": {"é": "x"}}, "bad_tag"),
        ({"add": {"a\n": "x"}}, "bad_tag"),
        ({"add": {"a" * 65: "x"}}, "bad_tag"),
        ({"add": {"k1": "x" * (VALUE_MAX + 1)}}, "bad_tag"),
        ({"remove": ["a b"]}, "bad_tag"),
        ({"add": {"k1": 5}}, "invalid_request"),
        ({}, "invalid_request"),
    ):
        answer = post(ana, TAGS.format(model.pk), body)
        assert (answer.status_code, answer.json()["code"]) == (422, code), body
        assert answer.json()["detail"]
        assert answer.json()["advice"]
    assert tags_of(ana, model) == many
    assert Operation.objects.count() == operations
    exchanged = {"add": {"k" * 64: "v" * VALUE_MAX}, "remove": ["k0"]}
    assert post(ana, TAGS.format(model.pk), exchanged).status_code == 200


def test_only_who_may_train_sets_them_and_only_on_a_model_that_is_or_was_registered(
    project: Project, ana: Any
):
    """So an orphan has none, and no cleanup deletes what a user wrote (law 9)."""
    body = {"add": {"team": "search"}}
    model, never = model_in(project, "rank"), RegisteredModelFactory.create(project=project)
    refused = post(ana, TAGS.format(never.pk), body)
    assert (refused.status_code, refused.json()["code"]) == (409, "not_registered")
    assert Operation.objects.get().error_code == "not_registered"
    viewer, stranger = member_of(project, Right.VIEW), member_of(ProjectFactory.create())
    assert post(bearer(viewer), TAGS.format(model.pk), body).status_code == 403
    assert post(bearer(stranger), TAGS.format(model.pk), body).status_code == 404
    assert not ModelTag.objects.exists()


def test_lists_are_filtered_by_tags_in_the_api_and_on_the_page(project: Project, ana: Any):
    tagged = {"a": {"team": "search", "tier": "1"}, "b": {"team": "ads", "tier": ""}, "c": {}}
    for name, tags in tagged.items():
        model = model_in(project, name)
        ModelTag.objects.bulk_create(
            ModelTag(registered_model=model, key=key, value=value) for key, value in tags.items()
        )
    browser = logged_in(member_of(project))
    for query, found in (
        ("tag=team", ["a", "b"]),
        ("tag=team:search", ["a"]),
        ("tag=team&tag=tier:1", ["a"]),
        ("tag=tier:", ["b"]),
        ("tag=team:search&tag=team:ads", []),
        ("tag=Team", []),
        ("tag=team:%25", []),
    ):
        answer = ana.get(f"/api/models/?sort=name&{query}")
        assert [item["name"] for item in answer.json()["items"]] == found, query
        assert answer.json()["pagination"]["total"] == len(found)
        assert names(browser, project, f"?sort=name&{query}") == found, query
    page = browser.get(url_of(project, "?tag=team&tag=tier:1")).content.decode()
    assert page.count('name="tag"') == 3  # each that is chosen, and an empty box
    assert "tag=team&amp;tag=tier%3A1" in page  # the heads that sort keep them
    for bad in ("tag=", "tag=:x", "tag=a%20b", f"tag=k:{'v' * 256}"):
        answer = ana.get(f"/api/models/?{bad}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert browser.get(url_of(project, "?tag=a%20b")).status_code == 422
