"""The API's lists: what they say, how they are paged, what they cost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from ml_platform.api.schemas.base import when
from ml_platform.cloud.transport import channels
from ml_platform.models import RegisteredModel
from ml_platform.models.clock import database_now
from ml_platform.models.states import ModelType, RegistryState
from ml_platform.tests.factories import (
    LONG_AGO,
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    version_of,
)
from ml_platform.tests.incident_rows import finished_sweep, incident_rows, operations_of

from .api_tools import bearer, keeps_contract, member_of

pytestmark = pytest.mark.django_db
LISTS = (
    "/api/models/",
    "/api/training-runs/",
    "/api/deployed-endpoints/",
    "/api/training/schedules/",
    "/api/operations/",
    "/api/audit/",
)


@pytest.fixture
def incident() -> Client:
    """A member's program in the project of the incident."""
    now = database_now()
    project = incident_rows(now)
    operations_of(project, now)
    lineage = RegisteredModel.objects.get(model_name="chern_hybrid_v2")
    TrainingScheduleFactory.create(registered_model=lineage)
    return bearer(member_of(project))


def registered(project: Any, count: int) -> list[RegisteredModel]:
    models: list[RegisteredModel] = RegisteredModelFactory.create_batch(count, project=project)
    for number, model in enumerate(models):
        # Two at a time share their time, so that an order by it alone is not total.
        version_of(model, registered_at=LONG_AGO + timedelta(minutes=number // 2))
    return models


def names(answer: Any) -> list[str]:
    return [item["name"] for item in answer.json()["items"]]


@pytest.mark.parametrize("path", LISTS)
def test_each_list_keeps_its_contract(incident: Client, path: str):
    answer = incident.get(path)
    keeps_contract(answer, path)
    assert answer.json()["pagination"]["total"] == len(answer.json()["items"]) > 0


def test_the_list_of_models_tells_the_incident(incident: Client):
    RegisteredModel.objects.filter(model_name="chern_rank_v1").update(
        registry_state=RegistryState.MISSING, registry_checked_at=(looked := database_now())
    )
    RegisteredModel.objects.filter(model_name="chern_rank_v3").update(
        registry_state=RegistryState.SUSPECTED, registry_checked_at=LONG_AGO
    )
    RegisteredModel.objects.filter(model_name="chern_rank_v4").update(
        registry_state=RegistryState.VERIFIED, registry_checked_at=database_now()
    )
    body = incident.get("/api/models/?sort=name").json()
    by_name = {item["name"]: item for item in body["items"]}
    assert body["kpi"] == {"total": 8, "deployed": 2, "outdated": 0, "idle": 6}
    assert body["registry_check_available"] is True
    assert by_name["chern_rank_v1"]["registry_verified"] is False
    assert by_name["chern_rank_v1"]["registry_reason"] == "Not listed at two sweeps."
    assert by_name["chern_rank_v1"]["verified_at"] == when(looked)
    assert by_name["chern_rank_v3"]["registry_verified"] is None  # not seen once is no absence
    assert by_name["chern_rank_v4"]["registry_verified"] is True
    assert by_name["chern_rank_v4"]["deployment"]["status"] == "deployed"
    assert by_name["chern_rank_v4"]["deployment"]["endpoint"]["service_name"] == "chern-rank-v4"
    assert by_name["chern_rank_v3"]["deployment"] == {
        "status": "idle",
        "active_endpoints": 0,
        "endpoint": None,
    }
    assert by_name["chern_retriv_v5"]["latest_version"]["version"] == 5
    assert "chern_hybrid_v2" not in by_name  # never registered


def test_an_unread_vertex_makes_the_check_unavailable(incident: Client):
    finished_sweep(
        database_now(), planes={"vertex": {"read": False, "reason": "403", "code": "denied"}}
    )
    RegisteredModel.objects.update(
        registry_state=RegistryState.VERIFIED, registry_checked_at=database_now()
    )
    body = incident.get("/api/models/").json()
    assert body["registry_check_available"] is False
    assert {(item["registry_verified"], item["registry_reason"]) for item in body["items"]} == {
        (None, "403")
    }
    assert {item["registry_state"] for item in body["items"]} == {"verified"}  # the last knowledge
    assert None not in {item["verified_at"] for item in body["items"]}
    one = incident.get(body["items"][0]["url"]).json()
    assert (one["registry_verified"], one["registry_reason"]) == (None, "403")


def test_a_model_whose_older_version_serves_is_outdated():
    project = ProjectFactory.create()
    (model,) = registered(project, 1)
    DeployedEndpointFactory.create(registered_model=model, run=model.latest_run, serving=True)
    version_of(model, registered_at=LONG_AGO + timedelta(days=1))
    client = bearer(member_of(project))
    body = client.get("/api/models/?status=outdated").json()
    assert body["kpi"] == {"total": 1, "deployed": 0, "outdated": 1, "idle": 0}
    assert body["items"][0]["deployment"]["status"] == "outdated"
    assert body["items"][0]["deployment"]["endpoint"]["version"] == 1
    assert client.get("/api/models/?status=deployed").json()["pagination"]["total"] == 0
    assert client.get("/api/models/?status=idle").json()["pagination"]["total"] == 0


@pytest.mark.parametrize(
    "sort", ["registered", "-registered", "name", "-name", "versions", "-versions"]
)
def test_cursors_and_page_numbers_walk_the_same_list(sort: str):
    project = ProjectFactory.create()
    registered(project, 11)
    client = bearer(member_of(project))
    whole = names(client.get(f"/api/models/?sort={sort}&page_size=100"))
    by_page, by_cursor, cursor = [], [], ""
    for page in (1, 2, 3, 4):
        answer = client.get(f"/api/models/?sort={sort}&page_size=3&page={page}")
        by_page += names(answer)
        assert answer.json()["pagination"]["pages"] == 4
    for _ in range(4):
        answer = client.get(f"/api/models/?sort={sort}&page_size=3&cursor={cursor}")
        by_cursor += names(answer)
        assert answer.json()["pagination"]["total"] == 11
        cursor = answer.json()["pagination"]["next_cursor"]
    assert cursor == ""
    assert len(set(whole)) == 11
    assert by_page == by_cursor == whole


def test_a_cursor_is_not_shaken_by_what_comes_before_it():
    project = ProjectFactory.create()
    registered(project, 4)
    client = bearer(member_of(project))
    first = client.get("/api/models/?page_size=2")
    cursor = first.json()["pagination"]["next_cursor"]
    version_of(
        RegisteredModelFactory.create(project=project), registered_at=LONG_AGO + timedelta(days=9)
    )
    second = client.get(f"/api/models/?page_size=2&cursor={cursor}")
    assert len({*names(first), *names(second)}) == 4


def test_filters_and_search_narrow_the_list_and_its_total():
    project = ProjectFactory.create()
    rank = RegisteredModelFactory.create(
        project=project, model_name="rank_a", model_type=ModelType.RANKING
    )
    version_of(rank)
    for name in ("retriv_a", "retriv_b"):
        version_of(RegisteredModelFactory.create(project=project, model_name=name))
    RegisteredModel.objects.filter(pk=rank.pk).update(registry_state=RegistryState.VERIFIED)
    rank.latest_run.is_blessed = False
    rank.latest_run.save()
    client = bearer(member_of(project))

    def found(query: str) -> list[str]:
        answer = client.get(f"/api/models/?sort=name&{query}")
        body = answer.json()
        assert body["pagination"]["total"] == len(body["items"])
        assert body["kpi"]["total"] == 3
        return names(answer)

    assert found("search=R") == ["rank_a", "retriv_a", "retriv_b"]
    assert found("search=_b") == []  # no name begins with it
    assert found("search=IV_") == ["retriv_a", "retriv_b"]
    assert found("search=%25") == []
    assert found("type=ranking") == ["rank_a"]
    assert found("blessed=false") == ["rank_a"]
    assert found("registry_state=verified") == ["rank_a"]
    assert found("registry_state=unchecked") == ["retriv_a", "retriv_b"]
    assert found(f"project={project.pk}&type=retrieval") == ["retriv_a", "retriv_b"]
    assert found("project=999") == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("page=0", "invalid_request"),
        ("page_size=101", "invalid_request"),
        ("page_size=0", "invalid_request"),
        ("sort=latest_run", "invalid_request"),
        ("statsu=idle", "unknown_parameter"),
        ("page=2&cursor=abc", "page_and_cursor"),
        ("cursor=abc", "bad_cursor"),
        ("cursor=WyItcmVnaXN0ZXJlZCIsICJub3ciLCAiMSJd", "bad_cursor"),
        ("cursor=%C3%A4", "bad_cursor"),
        ("search=%00", "nul_character"),
    ],
)
def test_a_list_refuses_what_it_does_not_know(query: str, code: str):
    answer = bearer(member_of(ProjectFactory.create())).get(f"/api/models/?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    keeps_contract(answer, "/api/models/")


def test_a_cursor_of_another_order_is_refused():
    project = ProjectFactory.create()
    registered(project, 3)
    client = bearer(member_of(project))
    cursor = client.get("/api/models/?page_size=1").json()["pagination"]["next_cursor"]
    answer = client.get(f"/api/models/?page_size=1&sort=name&cursor={cursor}")
    assert answer.json()["code"] == "bad_cursor"


@pytest.mark.parametrize("count", [0, 1, 100])
@pytest.mark.parametrize(
    ("query", "cost"),
    [("", 4), ("&status=idle&blessed=true&sort=name", 4), ("&search=model&status=idle", 6)],
)
def test_a_list_of_models_costs_four_statements_and_no_call_to_google(
    count: int, query: str, cost: int, monkeypatch: pytest.MonkeyPatch
):
    project = ProjectFactory.create()
    registered(project, count)
    client = bearer(member_of(project))
    called: list[str] = []
    monkeypatch.setattr(channels, "before_call", [called.append])
    client.get("/api/audit/")  # the token's use is written once a minute
    with CaptureQueriesContext(
        connection,
    ) as alone:
        assert client.get("/api/models/0/").status_code == 404
    with CaptureQueriesContext(connection) as listing:
        answer = client.get(f"/api/models/?page_size=100{query}")
    assert len(answer.json()["items"]) == count
    who = len(alone) - 2  # the token, two statements for permissions
    assert who == 3
    assert len(listing) - who == cost
    assert called == []


@pytest.mark.parametrize("path", LISTS[1:])
def test_the_other_lists_cost_the_same_for_one_row_and_for_many(incident: Client, path: str):
    project = RegisteredModel.objects.first().project  # type: ignore[union-attr]
    incident.get(path)
    costs = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as listing:
            incident.get(f"{path}?page_size=100")
        costs.append(len(listing))
        for model in RegisteredModelFactory.create_batch(20, project=project):
            run = version_of(model)
            TrainingRunFactory.create(project=project, registered_model=model)
            DeployedEndpointFactory.create(registered_model=model, run=run, serving=True)
            TrainingScheduleFactory.create(registered_model=model)
        operations_of(project, database_now())
    assert costs[0] == costs[1]


def test_versions_are_listed_newest_first_and_lost_ones_when_asked(incident: Client):
    model = RegisteredModel.objects.get(model_name="chern_retriv_v5")
    model.training_runs.filter(version=2).update(
        registration="deleted",
        vertex_model_resource_name="",
        vertex_model_name="",
        vertex_model_version="",
        registered_at=None,
    )
    path = f"/api/models/{model.pk}/versions/"
    answer = incident.get(path)
    keeps_contract(answer, "/api/models/{model_id}/versions/")
    assert [item["version"] for item in answer.json()["items"]] == [5, 4, 3, 1]
    every = incident.get(f"{path}?all=true").json()["items"]
    assert [item["registration"] for item in every][3] == "deleted"


def test_kpis_are_the_dashboards_numbers(incident: Client):
    answer = incident.get("/api/system/kpis/")
    keeps_contract(answer, "/api/system/kpis/")
    body = answer.json()
    assert (body["counts"]["database"], body["assets"]["models"]) == (8, 8)
    assert body["projects"][0]["models"] == 8
    assert body["findings"] == {"orphan": 2, "stale_pointer": 1}  # two more are no project's
