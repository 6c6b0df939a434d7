"""No text, number or id that a tenant is shown names another tenant's things (law 10)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import get_resolver

from ml_platform.models import DeployedEndpoint, Finding, Operation, RegisteredModel
from ml_platform.models.states import EndpointState
from ml_platform.services.access.rights import Right

from .api_tools import bearer, contract, member_of, post
from .tenants import Tenant, full_tenant, sweep_of_all

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

NOBODY = 10**9
"""An id that nothing has."""
LISTS = ("", "?search={word}", "?project={project}", "?model={model}", "?status=any")
PAGES = (
    "/", "/?projects=2", "/registry-health/", "/registry-health/?status=ignored", "/operations/",
    "/operations/?status=failed", "/projects/{project}/training/",
    "/projects/{project}/training/?runs=failed", "/projects/{project}/training/new-run/",
    "/projects/{project}/training/new-schedule/", "/models/{model}/",
    "/models/{model}/?picture=1&v=1", "/registry-health/findings/{finding_id}/",
    "/operations/{operation_id}/", "/operations/{operation_id}/status/",
    "/do/deploy-run/{run}/", "/do/deploy-run/{run}/check/", "/do/undeploy/{endpoint}/check/",
    "/do/ignore-finding/{finding_id}/", "/registry-health/installation/",
    "/projects/{project}/settings/", "/new-project/", "/?archived=yes",
)  # fmt: skip


@pytest.fixture
def mine() -> Tenant:
    return full_tenant("acorn")


@pytest.fixture
def theirs() -> Tenant:
    return full_tenant("zebra")


def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def addresses(ids: dict[str, Any], word: str) -> Iterator[str]:
    """Every path of the API that reads, each list narrowed in every way, and every page."""
    for path, methods in contract()["paths"].items():
        if "get" in methods:
            at = path.format(**ids)
            yield from [at] if "{" in path else (at + q.format(word=word, **ids) for q in LISTS)
    yield from (page.format(**ids) for page in PAGES)


def shown_by(answer: Any) -> str:
    return "\n".join([*(f"{k}: {v}" for k, v in answer.items()), answer.content.decode()])


def leaks(answer: Any, of: Tenant, *, typed: tuple[str, ...] = ()) -> list[str]:
    """What of that tenant an answer shows, but for what was typed in the address."""
    text = shown_by(answer)
    for part in typed:
        text = text.replace(part, "")
    return [mark for mark in of.marks if mark in text]


def walk(user: Any, ids: dict[str, Any], of: Tenant) -> int:
    clients = {"api": bearer(user), "page": browser(user)}
    walked = 0
    for url in addresses(ids, of.word):
        answer = clients["api" if url.startswith("/api/") else "page"].get(url)
        assert answer.status_code in (200, 302, 403, 404, 422), (url, answer.status_code)
        typed = (f"search={of.word}", str(ids["operation_id"])) if of.ids == ids else ()
        assert leaks(answer, of, typed=typed) == [], url
        walked += answer.status_code == 200
    return walked


@pytest.mark.slow
def test_a_member_reads_nothing_of_another_tenant_anywhere(mine: Tenant, theirs: Tenant):
    sweep_of_all(mine, theirs)
    assert walk(mine.member, mine.ids, theirs) > 45
    assert walk(theirs.member, theirs.ids, mine) > 45
    assert walk(mine.member, theirs.ids, theirs) > 5  # lists only; what is theirs is not there


@pytest.mark.slow
def test_somebody_of_no_tenant_reads_nothing_of_any(mine: Tenant, theirs: Tenant):
    sweep_of_all(mine, theirs)
    for tenant in (mine, theirs):
        assert walk(member_of(None), tenant.ids, tenant) > 5


def test_every_page_is_walked():
    """A new page must come into PAGES."""
    patterns = get_resolver("ml_platform.urls").url_patterns
    walked = [re.sub(r"\?.*", "", page).strip("/").format_map(_Slots()) for page in PAGES]
    elsewhere = ("api", "check_now", "delete")
    asked = {str(p.pattern) for p in patterns if getattr(p, "name", "") not in elsewhere}
    slots = {re.sub(r"<\w+:\w+>", "*", each).strip("/") for each in asked}
    verbs = {re.sub(r"^do/[\w-]+/\*", "do/*/*", each) for each in walked}
    assert slots == verbs


class _Slots(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "*"


NUMBERS = ("/api/system/kpis/", "/api/audit/", "/api/models/", "/api/deployed-endpoints/",
           "/api/training-runs/", "/api/training/schedules/", "/api/operations/")  # fmt: skip


@pytest.mark.slow
def test_every_number_of_a_member_is_that_of_their_own_projects(mine: Tenant):
    client = bearer(mine.member)
    sweep_of_all(mine)
    before = {path: client.get(path).json() for path in NUMBERS}
    kpis = before["/api/system/kpis/"]
    assert (kpis["assets"]["models"], kpis["assets"]["runs"]) == (1, 2)
    assert [day["requests"] for day in kpis["services"]][-3:] == [1000, 1000, 1000]
    assert before["/api/audit/"]["sweep"]["counts"] == {
        "rows": 1, "registered": 1, "vertex": 1, "gcs": 0, "cloud_run": 1,
        "scheduler": 0, "vertex_endpoints": 0, "held": 1,
        "left_out": [{"what": "acorn-rank", "why": "it is newer"}],
    }  # fmt: skip
    theirs = full_tenant("zebra")
    sweep_of_all(theirs)
    for path in NUMBERS:
        after = client.get(path).json()
        if "sweep" in after:
            of_sweep = after["sweep"].pop("counts"), before[path]["sweep"].pop("counts")
            assert of_sweep[0] == of_sweep[1] | {"held": 0, "left_out": []}
            after.pop("sweep"), before[path].pop("sweep")
        for counts in (each.get("counts", {}) for each in (after, before[path])):
            counts.pop("swept_at", None), counts.pop("vertex_read_at", None)
            counts.get("serving", {}).pop("read_at", None)
        assert after == before[path], path


def test_an_administrator_of_everything_is_told_all(mine: Tenant, theirs: Tenant):
    sweep_of_all(mine, theirs)
    root = member_of(None)
    root.is_superuser = root.is_staff = True
    root.save()
    sweep = bearer(root).get("/api/audit/").json()["sweep"]
    assert (sweep["actor"], sweep["counts"]["rows"], sweep["counts"]["held"]) == (
        "zebra-person", 900, 2,
    )  # fmt: skip
    assert [told["what"] for told in sweep["counts"]["left_out"]] == ["acorn-rank", "zebra-rank"]
    assert "of" not in sweep["counts"]
    assert "zebra-person" in browser(root).get("/registry-health/").content.decode()


BODIES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("/api/training-runs/", "project", {"model_name": "m", "template_uri": "gs://b/t.json"}),
    ("/api/training-runs/{run}/deploy-cloud-run/", "endpoint", {}),
    ("/api/models/{model}/deploy/", "endpoint", {"version": "newest"}),
    ("/api/deployed-endpoints/{endpoint}/deploy/", "run", {}),
    (
        "/api/training/schedules/",
        "project",
        {
            "name": "n", "model_name": "m", "template_uri": "gs://b/t.json", "frequency": "daily",
            "first": "2030-01-01T00:00:00Z",
        },
    ),
    (
        "/api/training/schedules/from-run/",
        "run",
        {"name": "n", "frequency": "daily", "first": "2030-01-01T00:00:00Z"},
    ),
    (
        "/api/audit/findings/{finding_id}/repair/",
        "project",
        {"action": "adopt", "model_name": "m"},
    ),
)  # fmt: skip
"""Each path whose body holds an id: the field, and what else it needs."""


def test_every_id_in_a_body_is_walked():
    named = {
        (path, name)
        for path, methods in contract()["paths"].items()
        for method in methods.values()
        for name in _ids_in(method)
    }
    assert {(re.sub("{.*?}", "*", path), name) for path, name in named} == {
        (re.sub("{.*?}", "*", path), name) for path, name, _ in BODIES
    }


def _ids_in(method: dict[str, Any]) -> Iterator[str]:
    body = method.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = str(body.get("schema", {}))
    for name in re.findall(r"#/components/schemas/(\w+)", schema):
        fields = contract()["components"]["schemas"][name].get("properties", {})
        yield from (field for field in fields if field in ("project", "run", "endpoint", "model"))


@pytest.mark.parametrize(("path", "field", "body"), BODIES)
def test_a_strangers_id_in_a_body_answers_as_one_that_does_not_exist(
    mine: Tenant, theirs: Tenant, path: str, field: str, body: dict[str, Any]
):
    Operation.objects.filter(status="running").delete()
    client, at = bearer(mine.member), path.format(**mine.ids)
    asked = theirs.ids[field]
    theirs_answer, none = (post(client, at, {**body, field: key}) for key in (asked, NOBODY))
    assert theirs_answer.status_code == none.status_code == 404
    assert none.json()["detail"].replace(str(NOBODY), str(asked)) == theirs_answer.json()["detail"]
    assert leaks(theirs_answer, theirs) == []


# ---- refusals, and what of them is kept ---------------------------------------------------------


@pytest.mark.slow
def test_who_holds_a_service_is_not_told_to_another_tenant(mine: Tenant, theirs: Tenant):
    """Their own operation is told with its name, its person and its page."""
    own = mine.operation
    DeployedEndpoint.objects.filter(pk=mine.endpoint.pk).update(
        service_name=theirs.operation.service_key
    )
    client, page = bearer(mine.member), browser(mine.member)
    deploy = f"/api/training-runs/{mine.run.pk}/deploy-cloud-run/"
    where = {"endpoint": "default"}
    refused = post(client, deploy, where)
    assert "acorn-person" in refused.json()["detail"]
    assert refused.json()["operation"] == str(own.pk)
    own.delete()
    told = "held by an operation outside its project"
    for answer in (
        post(client, deploy, where),
        post(client, f"/api/deployed-endpoints/{mine.endpoint.pk}/undeploy/"),
        post(client, deploy, where, headers={"Idempotency-Key": "k"}),
        page.post(f"/do/undeploy/{mine.endpoint.pk}/", {"key": "a"}),
        page.post(f"/do/undeploy/{mine.endpoint.pk}/", headers={"Accept": "application/json"}),
    ):
        assert answer.status_code == 409
        assert told in answer.content.decode()
        assert leaks(answer, theirs) == []
        assert str(theirs.operation.pk) not in shown_by(answer)
    why = page.get(f"/do/undeploy/{mine.endpoint.pk}/check/").json()["why"]
    assert why.startswith(f"{theirs.operation.service_key} is {told}.")
    kept = Operation.objects.filter(project=mine.project, error__contains=told)
    assert kept.count() == 5
    assert walk(mine.member, mine.ids | {"operation_id": kept[0].pk}, theirs) > 45


def test_who_sees_both_is_led_to_the_holder_and_the_history_still_names_nobody(
    mine: Tenant, theirs: Tenant
):
    mine.operation.delete()
    theirs.project.members.add(mine.member)
    body = {"service_name": theirs.operation.service_key}
    refused = post(bearer(mine.member), f"/api/training-runs/{mine.run.pk}/deploy-cloud-run/", body)
    assert refused.json()["operation"] == str(theirs.operation.pk)
    kept = Operation.objects.get(project=mine.project, error_code="busy")
    assert "outside its project" in kept.error


def test_a_waiting_operation_tells_no_foreign_holder(mine: Tenant, theirs: Tenant):
    held = theirs.operation.service_key
    Operation.objects.filter(pk=mine.operation.pk).update(status="pending", service_key=held)
    page = browser(mine.member).get(f"/operations/{mine.operation.pk}/")
    assert "is held by an operation outside its project." in page.content.decode()
    assert leaks(page, theirs) == []


def test_a_service_name_that_another_tenant_has_is_refused_without_a_name(
    mine: Tenant, theirs: Tenant
):
    Operation.objects.filter(status="running").delete()
    DeployedEndpoint.objects.filter(pk=theirs.endpoint.pk).update(service_name="taken")
    path = f"/api/training-runs/{mine.run.pk}/deploy-cloud-run/"
    refused = post(bearer(mine.member), path, {"service_name": "taken"})
    assert (refused.status_code, refused.json()["code"]) == (409, "foreign_service")
    assert leaks(refused, theirs) == []
    assert leaks(bearer(mine.member).get("/api/operations/"), theirs) == []


def test_an_operation_does_not_lead_to_an_endpoint_that_took_its_service_name(
    mine: Tenant, theirs: Tenant
):
    key = theirs.endpoint.service_name
    Operation.objects.filter(pk=mine.operation.pk).update(service_key=key)
    page = browser(mine.member).get(f"/operations/{mine.operation.pk}/")
    assert leaks(page, theirs) == []
    assert f"#endpoint-{theirs.endpoint.pk}" not in page.content.decode()


def test_traffic_before_a_service_name_changed_hands_is_not_told(mine: Tenant, theirs: Tenant):
    theirs.endpoint.delete()
    name = theirs.endpoint.service_name
    DeployedEndpoint.objects.filter(pk=mine.endpoint.pk).update(service_name=name)
    page = browser(mine.member).get(f"/projects/{mine.project.pk}/training/")
    assert "14,000" not in page.content.decode()
    assert "7,000" not in page.content.decode()


# ---- pages do as the API does -------------------------------------------------------------------


def test_a_page_adopts_only_into_a_project_that_its_person_sees(mine: Tenant, theirs: Tenant):
    page, url = browser(mine.member), f"/do/adopt-finding/{mine.finding.pk}/"
    for key in (theirs.project.pk, NOBODY, "abc", "1" * 5000):
        answer = page.post(url, {"project": key, "model_name": "mine"})
        assert answer.status_code == 404
        assert leaks(answer, theirs) == []
    assert page.post(url, {"model_name": "mine"}).status_code == 422
    assert page.get(f"/registry-health/findings/{mine.finding.pk}/").status_code == 200
    assert not Operation.objects.filter(kind="adopt").exists()
    assert not RegisteredModel.objects.filter(model_name="mine").exists()


def test_adopting_another_tenants_model_does_not_name_it(mine: Tenant, theirs: Tenant):
    """A finding that is older than the version: the model is another's by now."""
    Finding.objects.filter(pk=mine.finding.pk).update(
        subject=theirs.model.vertex_model_resource_name.replace(theirs.model.uid.hex, "shared")
    )
    name = Finding.objects.get(pk=mine.finding.pk).subject
    type(theirs.run).objects.filter(pk=theirs.run.pk).update(vertex_model_resource_name=name)
    body = {"action": "adopt", "project": mine.project.pk, "model_name": "m"}
    path = f"/api/audit/findings/{mine.finding.pk}/repair/"
    for asked in (body, {"action": "delete"}):
        refused = post(bearer(mine.member), path, asked)
        assert (refused.status_code, refused.json()["code"]) == (409, "managed_model")
        assert leaks(refused, theirs) == []


def test_the_deletion_of_a_findings_model_is_shown_to_who_sees_the_finding(mine: Tenant):
    path = f"/api/audit/findings/{mine.finding.pk}/repair/"
    begun = post(bearer(mine.member), path, {"action": "delete"})
    assert begun.status_code == 202
    assert bearer(mine.member).get(begun["Location"]).status_code == 200


@pytest.mark.parametrize("rights", [(Right.VIEW,), tuple(Right)])
def test_check_now_asks_on_the_page_what_the_api_asks(mine: Tenant, rights: tuple[Right, ...]):
    user = member_of(mine.project, *rights)
    sweeps = Operation.objects.filter(kind="sweep")
    answers = browser(user).post("/registry-health/check/"), post(bearer(user), "/api/audit/run/")
    assert [answer.status_code for answer in answers] == [403, 403]
    assert "Check now" not in browser(user).get("/").content.decode()
    assert not sweeps.exists()


def test_check_now_needs_the_right_of_whoever_sees_everything_too():
    user = member_of(None, Right.VIEW)
    user.is_staff = True
    user.save()
    user.user_permissions.add(Permission.objects.get(codename="view_project"))
    assert "Check now" not in browser(user).get("/").content.decode()
    for answer in (
        browser(user).post("/registry-health/check/"),
        post(bearer(user), "/api/audit/run/"),
    ):
        assert answer.status_code == 403
        assert str(Right.ADMINISTER) in answer.content.decode()


def test_without_the_right_to_view_no_page_is_shown(mine: Tenant):
    user = member_of(mine.project, Right.TRAIN, Right.DEPLOY, Right.DELETE, Right.ADMINISTER)
    page = browser(user)
    paths = [each.format(**mine.ids) for each in (*PAGES, "/models/{model}/delete/")]
    for path in paths:
        answer = page.get(path)
        assert answer.status_code == 403, path
        assert leaks(answer, mine) == []
        assert Right.VIEW in answer.content.decode()
    for verb in ("undeploy", "delete-endpoint"):
        assert page.post(f"/do/{verb}/{mine.endpoint.pk}/").status_code == 403
    assert page.post("/registry-health/check/").status_code == 403
    assert DeployedEndpoint.objects.get(pk=mine.endpoint.pk).state == EndpointState.ACTIVE
    assert Client().get("/").status_code == 302
