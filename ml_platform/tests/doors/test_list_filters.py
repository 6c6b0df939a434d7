"""Lists narrowed by their parameters: pages and API select the same rows."""

from __future__ import annotations

import pytest

from ml_platform import kpis
from ml_platform.services.registry import search
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    TrainingRunFactory,
    version_of,
)

from .api_tools import bearer, keeps_contract, member_of
from .test_pages_training import admin, model_in, names, project, table, url_of

__all__ = ["admin", "project"]  # fixtures

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("query", ["type=none-such", "state=none-such", "registry=x", "sort=x"])
def test_a_filter_that_does_not_exist_is_said_at_its_field(admin, project, query):
    answer = admin.get(url_of(project, f"?{query}"))
    assert answer.status_code == 422
    assert "Select a valid choice." in table(admin, project, "models", f"?{query}")


@pytest.mark.slow
def test_pages_and_api_agree_who_is_deployed_outdated_and_idle(admin, project):
    for name, status in (("a", "deployed"), ("b", "outdated"), ("c", "idle")):
        lineage = model_in(project, name)
        if status != "idle":
            DeployedEndpointFactory.create(
                registered_model=lineage, run=lineage.latest_run, serving=True
            )
        if status == "outdated":
            version_of(lineage)
    api = bearer(member_of(project))
    kpi = api.get("/api/models/").json()["kpi"]
    assert kpi == {"total": 3, "deployed": 1, "outdated": 1, "idle": 1}
    assert kpis.assets().deployed == 1
    for name, status, badge in (
        ("a", "deployed", "✓ Deployed"),
        ("b", "outdated", "! Outdated"),
        ("c", "idle", "○ Idle"),
    ):
        [item] = api.get(f"/api/models/?status={status}").json()["items"]
        assert (item["name"], item["deployment"]["status"]) == (name, status)
        assert names(admin, project, f"?state={status}") == [name]
        assert badge in table(admin, project, "models", f"?q={name}")


def test_only_a_search_may_tell_a_lower_bound_and_pages_and_api_say_so(admin, project, monkeypatch):
    monkeypatch.setattr(search, "FOUND_AT_MOST", 2)
    for name in ("rank-a", "rank-b", "rank-c", "other"):
        model_in(project, name)
    api = bearer(member_of(project))
    for query, total, exact, said in (
        ("", 4, True, "4 models"),
        ("type=retrieval", 4, True, "4 models match"),
        ("search=rank", 2, False, "more than 2 models match"),
        ("search=rank&type=retrieval", 2, False, "more than 2 models match"),
        ("search=k-a", 1, True, "1 model matches"),
        ("search=o", 1, True, "1 model matches"),
        ("search=rank&type=hybrid", 0, True, "0 models match"),
    ):
        answer = api.get(f"/api/models/?page_size=1&sort=name&{query}")
        keeps_contract(answer, "/api/models/")
        told = answer.json()["pagination"]
        assert (told["total"], told["total_is_exact"], told["pages"]) == (total, exact, total)
        assert answer.json()["kpi"]["total"] == 4
        page = table(admin, project, "models", f"?{query.replace('search', 'q')}")
        assert said in page, query
        assert ("more than" in page) is not exact
    assert names(admin, project, "?sort=name&q=rank") == ["rank-a", "rank-b", "rank-c"]


def test_the_other_lists_are_narrowed_by_each_of_their_parameters(project):
    model = model_in(project, "m")
    for stopped in (False, True):
        DeployedEndpointFactory.create(
            registered_model=model, run=model.latest_run, serving=not stopped,
            service_name="stopped" if stopped else "serving",
        )  # fmt: skip
    run = TrainingRunFactory.create(project=project, model_name="other")
    client = bearer(member_of(project))

    def ids(path: str) -> list[int]:
        return [item["id"] for item in client.get(f"/api/{path}").json()["items"]]

    assert len(ids("training-runs/")) == 2
    for query in ("registration=", "search=OTH", f"status={run.status}"):
        assert ids(f"training-runs/?{query}") == [run.pk], query
    assert ids("training-runs/?registration=registered") == [model.latest_run_id]
    assert ids(f"training-runs/?model={model.pk}&search=") == [model.latest_run_id]
    for query, count in (("", 2), ("active=false", 1), ("active=true", 1), ("search=OPP", 1)):
        assert len(ids(f"deployed-endpoints/?{query}")) == count, query
    assert ids(f"deployed-endpoints/?model={model.pk + 1}") == []
    assert ids(f"deployed-endpoints/?project={project.pk + 1}") == []
