"""The contract itself: a snapshot, examples that keep it, a page that asks nobody else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from jsonschema_rs import Draft202012Validator

from ml_platform.tests.factories import ProjectFactory

from .api_tools import bearer, contract, keeps_contract, logged_in, member_of

SNAPSHOT = Path(__file__).parents[1] / "snapshots" / "openapi.json"
PUBLIC = {
    "/api/training-runs/": {"get", "post"},
    "/api/training-runs/{run_id}/": {"get", "delete"},
    "/api/training-runs/{run_id}/submit/": {"post"},
    "/api/training-runs/{run_id}/cancel/": {"post"},
    "/api/training-runs/{run_id}/register/": {"post"},
    "/api/training-runs/{run_id}/deploy-cloud-run/": {"post"},
    "/api/models/": {"get"},
    "/api/models/{model_id}/": {"get"},
    "/api/models/{model_id}/versions/": {"get"},
    "/api/models/{model_id}/deploy/": {"post"},
    "/api/models/{model_id}/delete/": {"post"},
    "/api/deployed-endpoints/": {"get"},
    "/api/deployed-endpoints/{endpoint_id}/": {"get"},
    "/api/deployed-endpoints/{endpoint_id}/deploy/": {"post"},
    "/api/deployed-endpoints/{endpoint_id}/undeploy/": {"post"},
    "/api/deployed-endpoints/{endpoint_id}/delete/": {"post"},
    "/api/training/schedules/": {"get", "post"},
    "/api/training/schedules/{schedule_id}/": {"get"},
    "/api/training/schedules/{schedule_id}/pause/": {"post"},
    "/api/training/schedules/{schedule_id}/resume/": {"post"},
    "/api/training/schedules/{schedule_id}/cancel/": {"post"},
    "/api/training/schedules/{schedule_id}/trigger/": {"post"},
    "/api/training/schedules/from-run/": {"post"},
    "/api/training/schedules/{schedule_id}/webhook/": {"post"},
    "/api/system/kpis/": {"get"},
    "/api/system/cleanup-orphan-models-webhook/": {"post"},
    "/api/system/cleanup-artifacts-webhook/": {"post"},
    "/api/system/collect-metrics-webhook/": {"post"},
    "/api/system/setup-orphan-cleanup-scheduler/": {"post"},
    "/api/system/setup-cleanup-scheduler/": {"post"},
    "/api/system/setup-metrics-scheduler/": {"post"},
    "/api/operations/": {"get"},
    "/api/operations/{operation_id}/": {"get"},
    "/api/audit/": {"get"},
    "/api/audit/run/": {"post"},
    "/api/audit/findings/{finding_id}/repair/": {"post"},
}
"""What other programs know by name; these bind."""


def test_every_public_path_is_served():
    for path, methods in PUBLIC.items():
        assert methods <= set(contract()["paths"][path]), path


def test_the_contract_is_the_one_that_was_agreed_on():
    """`python -m ml_platform.tests.doors` writes a new one: read what changed."""
    assert contract() == json.loads(SNAPSHOT.read_text())


def test_each_operation_has_its_words_and_its_failures():
    for path, methods in contract()["paths"].items():
        for method, operation in methods.items():
            assert operation["description"].endswith("."), (path, method)
            for status, answer in operation["responses"].items():
                problems = {"application/problem+json"} if int(status) >= 400 else set()
                spoken = {"application/json"} if int(status) < 400 else set()
                if status == "503" and path.endswith("-webhook/"):
                    spoken = {"application/json"}  # what the ring did so far
                assert set(answer["content"]) == problems | spoken, (path, method, status)
            assert operation["security"], (path, method)


def test_examples_keep_the_schemas_they_are_of():
    schemas = contract()["components"]["schemas"]
    shown = {name: schema["examples"] for name, schema in schemas.items() if "examples" in schema}
    answered = {
        content["schema"]["$ref"].rpartition("/")[2]
        for methods in contract()["paths"].values()
        for operation in methods.values()
        for answer in operation["responses"].values()
        for content in answer["content"].values()
    }
    assert answered - set(shown) == set()
    for name, examples in shown.items():
        whole = {**schemas[name], "components": contract()["components"]}
        for example in examples:
            assert list(Draft202012Validator(whole).iter_errors(example)) == [], name


def bodies(schema: dict[str, Any]) -> set[str]:
    """The names of the schemas that a schema stands for."""
    parts = [schema, *schema.get("allOf", ()), *schema.get("anyOf", ())]
    return {part["$ref"].rpartition("/")[2] for part in parts if "$ref" in part}


def test_each_field_of_a_body_has_an_example_its_choices_or_is_yes_or_no():
    schemas = contract()["components"]["schemas"]
    names = {"ServingIn"}
    for methods in contract()["paths"].values():
        for operation in methods.values():
            content = operation.get("requestBody", {}).get("content", {})
            names |= bodies(content["application/json"]["schema"]) if content else set()
    assert len(names) >= 11
    for name in names:
        for field, schema in schemas[name]["properties"].items():
            kinds = [schema, *schema.get("anyOf", ())]
            told = any({"examples", "enum"} & set(kind) for kind in kinds) or bodies(schema)
            assert told or schema.get("type") == "boolean", (name, field)


def test_every_key_of_a_post_is_documented():
    for path, methods in contract()["paths"].items():
        if "post" in methods:
            headers = [each["name"] for each in methods["post"].get("parameters", ())]
            webhook = "webhook" in path
            assert ("Idempotency-Key" in headers) is not webhook, path


@pytest.mark.django_db
def test_the_contract_is_served_to_whoever_may_use_the_api():
    member = member_of(ProjectFactory.create())
    answer = bearer(member).get("/api/openapi.json")
    assert answer.json() == contract()
    anonymous = Client().get("/api/openapi.json")
    assert (anonymous.status_code, anonymous["Content-Type"]) == (401, "application/problem+json")


@pytest.mark.slow
@pytest.mark.django_db
def test_the_page_of_the_contract_asks_no_other_host_and_stands_in_our_frame():
    browser = logged_in(member_of(ProjectFactory.create()))
    page = browser.get("/api/docs").content.decode()
    assert "/api/models/{model_id}/delete/" in page
    assert "Idempotency-Key" in page
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//[^\"]*", page) == []
    assert re.findall(r"<script(?! type=\"module\" src=)", page) == []
    assert 'aria-current="page">API</a>' in page
    assert " style=" not in page
    anonymous = Client().get("/api/docs")
    assert (anonymous.status_code, anonymous["Location"]) == (302, "/login/?next=/api/docs")


@pytest.mark.django_db
def test_the_api_is_found_below_wherever_the_host_mounts_it(settings: Any):
    settings.ROOT_URLCONF = "ml_platform.tests.doors.mounted_urls"
    client = bearer(member_of(ProjectFactory.create()))
    assert "/ml/api/models/" in client.get("/ml/api/openapi.json").json()["paths"]
    answer = client.get("/ml/api/models/")
    keeps_contract(answer, "/api/models/")


@pytest.mark.parametrize("path", ["/api/models", "/api/", "/api/models/x/", "/api/models/-1/"])
@pytest.mark.django_db
def test_what_is_no_path_is_a_problem(path: str):
    answer = bearer(member_of(ProjectFactory.create())).get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_path")


@pytest.mark.parametrize("number", [0, 1 << 31, 1 << 63, 1 << 200])
@pytest.mark.django_db
def test_an_id_beyond_what_a_database_holds_is_none(number: int):
    answer = bearer(member_of(ProjectFactory.create())).get(f"/api/models/{number}/")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
