"""Garbage at every parameter, path, field and header of the API is answered with a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from ml_platform.models import Operation, TrainingRun

from .api_tools import contract, keeps_contract
from .garbage import RAW, TEXTS, VALUES, admin, browser, cursors, ids, nested, program
from .test_strict import NEEDED

__all__ = ["admin", "browser", "ids", "program"]  # fixtures

pytestmark = pytest.mark.django_db


def is_refused_or_answered(answer: Any, *where: object) -> None:
    assert answer.status_code < 500, (where, answer.status_code)
    if answer.status_code >= 400 and answer["Content-Type"].startswith("application/"):
        assert answer["Content-Type"] == "application/problem+json", where
        assert answer.json()["detail"].endswith((".", "]", "`", "?")), (where, answer.json())


@pytest.mark.on_postgresql
@pytest.mark.slow
def test_no_parameter_of_the_api_breaks_it(program: Client, ids: dict[str, Any]):
    walked = 0
    for path, methods in contract()["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] != "query":
                    continue
                url = path.format(**ids)
                sort = parameter["schema"].get("default", "") or default_sort(operation)
                words = cursors(sort) if parameter["name"] == "cursor" else TEXTS
                asked = [f"{url}?{parameter['name']}={raw}" for raw in RAW]
                for word in words:
                    answer = program.generic(
                        method.upper(), url, data="{}", content_type="application/json",
                        query_params={parameter["name"]: word},
                    )  # fmt: skip
                    is_refused_or_answered(answer, url, parameter["name"], word[:40])
                    walked += 1
                for address in asked:
                    is_refused_or_answered(program.generic(method.upper(), address), address)
    assert walked > 1000


def default_sort(operation: dict[str, Any]) -> str:
    found = {each["name"]: each["schema"].get("default") for each in operation["parameters"]}
    return found.get("sort") or ""


@pytest.mark.slow
def test_no_path_of_the_api_breaks_it(program: Client, ids: dict[str, Any]):
    for path, methods in contract()["paths"].items():
        for name in [part for part in ids if f"{{{part}}}" in path]:
            for word in ("0", str(1 << 31), str(1 << 63), "9" * 5000, "%00", "%ff", "x", "-1"):
                url = path.replace(f"{{{name}}}", word).format(**ids)
                for method in methods:
                    answer = program.generic(
                        method.upper(), url, data="{}", content_type="application/json"
                    )
                    is_refused_or_answered(answer, method, url[:80])


def test_a_cursor_that_is_none_says_so(program: Client, ids: dict[str, Any]):
    for word in cursors("-registered"):
        answer = program.get("/api/models/", query_params={"cursor": word})
        assert (answer.status_code, answer.json()["code"]) in (
            (422, "bad_cursor"),
            (422, "invalid_request"),  # longer than any of ours
        ), word[:40]
        keeps_contract(answer, "/api/models/")


@pytest.mark.on_postgresql
@pytest.mark.slow
def test_no_field_of_a_body_breaks_the_api(program: Client, ids: dict[str, Any]):
    schemas = contract()["components"]["schemas"]
    whole = {path.partition("?")[0]: body for path, body in NEEDED.values()}
    walked = 0
    for path, methods in contract()["paths"].items():
        wanted = methods.get("post", {}).get("requestBody")
        if wanted is None:
            continue
        reference = wanted["content"]["application/json"]["schema"]["$ref"]
        for field in schemas[reference.rpartition("/")[2]]["properties"]:
            for value in VALUES:
                body = json.dumps({**whole.get(path, {}), field: value})
                answer = program.post(path.format(**ids), body, content_type="application/json")
                is_refused_or_answered(answer, path, field, value if len(body) < 99 else "")
                walked += 1
    assert walked > 800


@pytest.mark.parametrize(
    "body",
    [
        nested(990), nested(100_000), nested(65), b"[" * 990, b"\xff", b'"', b"1", b"true",
        b'{"parameters": {"a": 1%s}}' % (b"0" * 5000), b'{"parameters": {"a": NaN}}',
        b'{"parameters": {"a": 1e999}}', b'{"parameters": {"a": 9223372036854775808}}',
        b'{"parameters": {"a": "\\ud800"}}', b'{"parameters": {"\\u0000": 1}}',
        '{"a": 1}'.encode("utf-16"),
        b'{"parameters": {"a": 1, "a": 2}}',
    ],
    ids=range(16),
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api/training-runs/", "/api/operations/{operation_id}/retry/"])
def test_no_body_breaks_the_api(program: Client, ids: dict[str, Any], path: str, body: bytes):
    answer = program.post(path.format(**ids), data=body, content_type="application/json")
    assert answer.status_code in (400, 422), answer.content
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("charset", ["unknown", "utf-16", "utf-7", "latin-1"])
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "text/plain"])
def test_no_charset_breaks_a_door(program: Client, browser: Client, charset: str, kind: str):
    kind = f"{kind}; charset={charset}"
    for method in ("GET", "POST"):
        answer = program.generic(method, "/api/models/?search=%E9", b"{}", kind)
        assert (answer.status_code, answer.json()["code"]) == (400, "unreadable_request")
        assert browser.generic(method, "/?status=%E9", b"a=%E9", kind).status_code == 400


@pytest.mark.parametrize("name", ["sessionid", "csrftoken", "anything"])
def test_no_cookie_breaks_a_door(name: str):
    client = Client(raise_request_exception=False, headers={"Cookie": f'{name}="a\\000b"'})
    assert client.get("/").status_code in (302, 422)
    assert client.get("/api/models/").status_code in (401, 422)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer \x00"},
        {"Authorization": "Bearer \ud800"},
        {"Authorization": "Bearer " + "x" * 100_000},
        {"Authorization": "Basic \xff"},
        {"Idempotency-Key": "\x00"},
        {"Idempotency-Key": "\ud800"},
        {"X-CSRFToken": "\x00" * 64},
    ],
)
def test_no_header_breaks_the_api(program: Client, headers: dict[str, str]):
    answer = program.post("/api/training-runs/", {}, "application/json", headers=headers)
    assert 400 <= answer.status_code < 500
    assert answer["Content-Type"] == "application/problem+json"


def test_garbage_changes_nothing(program: Client, ids: dict[str, Any]):
    before = Operation.objects.count()
    for body in (nested(990, "versions"), b'{"versions": "all", "\\u0000": 1}', b"[]"):
        program.post(f"/api/models/{ids['model_id']}/delete/", body, "application/json")
    assert Operation.objects.count() == before
    assert TrainingRun.objects.get(pk=ids["run_id"]).registration == "registered"
