"""A database that is away is answered with 503, a defect as one, by the API and by the pages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError, connection
from django.test import Client

from ml_platform import kpis
from ml_platform.api.http import auth

from .api_tools import contract, keeps_contract
from .garbage import admin, browser, ids, program
from .test_garbage_pages import page_urls

__all__ = ["admin", "browser", "ids", "program"]  # fixtures

pytestmark = pytest.mark.django_db


@pytest.fixture(params=[OperationalError, InterfaceError])
def away(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Nothing can be asked once it is called; the test's own transaction is left alone."""
    stack = []

    def refuse(*_: Any) -> Any:
        raise request.param("the connection is closed")

    def leave() -> None:
        stack.append(connection.execute_wrapper(refuse))
        stack[0].__enter__()

    yield leave
    for wrapper in stack:
        wrapper.__exit__(None, None, None)


def test_the_api_says_that_its_database_is_away(
    program: Client, browser: Client, ids: dict[str, Any], away: Callable[[], None]
):
    away()
    for client in (program, browser):  # a token and a session are both looked up there
        for path, methods in contract()["paths"].items():
            if "webhook" in path:
                continue
            for method in methods:
                answer = client.generic(
                    method.upper(), path.format(**ids), "{}", "application/json"
                )
                assert answer.status_code == 503, (path, method)
                assert answer["Content-Type"] == "application/problem+json"
                assert (answer.json()["code"], answer["Retry-After"]) == ("database_busy", "1")
    assert browser.get("/api/docs").status_code == 503
    assert program.get("/api/openapi.json").status_code == 503


@pytest.mark.slow
def test_each_page_says_that_the_database_is_away(
    browser: Client, ids: dict[str, Any], away: Callable[[], None], caplog: Any
):
    pages = page_urls(ids)
    away()
    for url in pages:
        for method in ("GET", "POST"):
            answer = browser.generic(method, url)
            assert answer.status_code == 503, (url, method)
            assert "database_busy" in answer.content.decode()
            assert answer["Retry-After"] == "1"
    script = browser.post("/do/cancel-run/1/", headers={"Accept": "application/json"})
    assert (script.status_code, script.json()["code"]) == (503, "database_busy")
    assert all(record.exc_info for record in caplog.records if record.levelno >= logging.ERROR)


@pytest.mark.parametrize("debug", [False, True])
def test_a_defect_of_the_api_is_a_problem_and_is_logged_with_its_trace(
    program: Client,
    ids: dict[str, Any],
    settings: Any,
    debug: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
):
    def defect(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a secret of ours")

    settings.DEBUG = debug
    told: list[Any] = []

    def write_line(request: Any, **_: Any) -> None:
        told.append(request.path)

    got_request_exception.connect(write_line)
    monkeypatch.setattr(kpis, "four_counts", defect)
    try:
        answer = program.get("/api/system/kpis/")
    finally:
        got_request_exception.disconnect(write_line)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.content.decode()
    keeps_contract(answer, "/api/system/kpis/")
    assert told == ["/api/system/kpis/"]
    (record,) = [each for each in caplog.records if each.exc_info]
    assert record.exc_info[0] is ZeroDivisionError
    monkeypatch.setattr(auth, "digest_of", defect)
    assert program.get("/api/models/").json()["code"] == "internal_error"


def test_what_the_host_refuses_is_a_problem(settings: Any):
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "API_AUTHENTICATE": "ml_platform.tests.doors.test_failures.refuse",
    }
    answer = Client().get("/api/models/")
    assert (answer.status_code, answer.json()["code"]) == (403, "denied")


def refuse(request: Any) -> Any:
    """A host's own way in, which lets nobody in."""
    raise PermissionDenied
