"""Garbage at every parameter and form of every page is answered with a sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client
from django.urls import URLPattern

from ml_platform.actions.table import ACTIONS
from ml_platform.tests.services.world import Clock, a_lineage
from ml_platform.urls import urlpatterns

from .garbage import RAW, TEXTS, admin, browser, cursor, cursors, ids

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

__all__ = ["admin", "browser", "ids"]  # fixtures

pytestmark = pytest.mark.django_db


def page_urls(ids: dict[str, Any]) -> list[str]:
    """Every page, of things that are there."""
    found = []
    for pattern in urlpatterns:
        assert isinstance(pattern, URLPattern)
        route = str(pattern.pattern)
        if pattern.name == "api":
            continue
        for part, value in ids.items():
            for kind in ("slug:", "int:", "uuid:", "path:"):
                route = route.replace(f"<{kind}{part}>", str(value))
        if pattern.name in ("delete", "check_now"):
            continue  # they ask Google; the first has its own test, the second takes one word
        if "<slug:verb>" not in route:
            found.append(f"/{route}")
            continue
        for verb in (name for name, action in ACTIONS.items() if action.on_page):
            noun = verb.replace("deploy-run", "run").rpartition("-")[2]
            key = {"finding": ids["finding_id"], "operation": ids["operation_id"]}.get(noun, 1)
            verbed = route.replace("<slug:verb>", verb).replace("<path:subject>", str(key))
            found.append(f"/{verbed}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=\xff", b"x"),
        ("multipart/form-data; boundary=a", b"--a\r\nContent-Disposition: form-data\r\n\r\n--a--"),
        ("multipart/form-data; boundary=a", b'--a\r\nContent-Disposition: form-data; name="reason"'
         b"\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!\r\n--a--\r\n"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 2000)),
        ("application/x-www-form-urlencoded", b"reason=%00&name=%00&key=%00"),
        ("", b"\x00"),
    ],
)  # fmt: skip
def test_no_form_breaks_a_page(browser: Client, ids: dict[str, Any], kind: str, body: bytes):
    for url in page_urls(ids):
        answer = browser.generic("POST", url, body, kind)
        assert answer.status_code < 500, url


TABLES = ("models", "versions", "runs", "endpoints")
PAGE_PARAMETERS = (
    "q", "sort", "status", "type", "project", "page", "projects", "runs", "run", "v", "metric",
    "picture", "schedules", *(f"{name}_{side}" for name in TABLES for side in ("after", "before")),
)  # fmt: skip


@pytest.mark.on_postgresql
@pytest.mark.slow
def test_no_parameter_of_a_page_breaks_it(browser: Client, ids: dict[str, Any]):
    pages = [url for url in page_urls(ids) if not url.startswith("/do/")]
    assert len(pages) > 8
    for url in [*pages, "/do/register-run/1/"]:
        for word in TEXTS:  # a page reads all its parameters, so that one request tries them all
            asked = {name: word for name in PAGE_PARAMETERS if "_" not in name}
            assert browser.get(url, query_params=asked).status_code < 500, (url, word[:40])
        for raw in RAW:
            assert browser.get(f"{url}?q={raw}").status_code < 500, (url, raw)
    for name in (name for name in PAGE_PARAMETERS if "_" in name):
        table = "/models/{model_id}/" if "versions" in name else "/projects/{project}/training/"
        for word in TEXTS:
            answer = browser.get(table.format(**ids), query_params={name: word})
            assert answer.status_code < 500, (table, name, word[:40])


OTHER_ORDER = cursor("oldest", "2026-01-01T00:00:00+00:00", "1")


@pytest.mark.any_database
@pytest.mark.slow
@pytest.mark.parametrize("word", ["nonsense", *cursors("newest"), OTHER_ORDER])
def test_a_page_says_what_is_wrong_with_its_cursor(browser: Client, ids: dict[str, Any], word: str):
    lists = {f"/models/{ids['model_id']}/": "versions"}
    lists[f"/projects/{ids['project']}/training/"] = "models"
    for url, name in lists.items():
        for side in ("after", "before"):
            answer = browser.get(url, query_params={f"{name}_{side}": word})
            assert answer.status_code == 422
            assert "bad_cursor" in answer.content.decode()


@pytest.mark.parametrize(
    ("key", "status", "said"),
    [
        *(
            (key, 404, "There is no project")
            for key in (
                "abc",
                "\ud7ff",
                "9" * 5000,
                str(1 << 70),
                "1.5",
                "0001-01-01T00:00:00+14:00",
            )
        ),
        ("", 422, "adopt_needs_name"),
    ],
)
def test_a_project_that_is_none_is_not_adopted_into(
    browser: Client, ids: dict[str, Any], key: str, status: int, said: str
) -> None:
    form = {"project": key, "model_name": "adopted", "key": "k"}
    answer = browser.post(f"/do/adopt-finding/{ids['finding_id']}/", form)
    assert answer.status_code == status
    assert said in answer.content.decode()


@pytest.mark.parametrize(
    "text",
    ["[" * 990, "[" * 100_000, "1" * 5000, '{"a": 1%s}' % ("0" * 4000), '{"a": NaN}', "[]", "1",
     '{"a": "\\u0000"}', '{"a": "\\ud800"}', '{"a": ' + "[" * 990 + "]" * 990 + "}",
     '{"a": 1, "a": 2}'],
    ids=range(11),
)  # fmt: skip
def test_no_parameters_break_the_form_of_a_run(browser: Client, ids: dict[str, Any], text: str):
    form = {"model_name": "m", "model_type": "other", "template_uri": "gs://a/b.json", "key": "k"}
    answer = browser.post(
        f"/projects/{ids['project']}/training/new-run/", {**form, "parameters": text}
    )
    assert answer.status_code == 422
    assert re.search("This is not (valid JSON|a JSON object)", answer.content.decode())


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12", "../../etc/passwd", "x"])
def test_no_day_breaks_the_form_of_a_schedule(
    browser: Client, ids: dict[str, Any], day: str, zone: str
):
    form = {
        "name": "n", "model_name": "m", "model_type": "other", "template_uri": "gs://a/b.json",
        "key": "k", "frequency": "daily", "day": day, "time": "00:00", "time_zone": zone,
    }  # fmt: skip
    answer = browser.post(f"/projects/{ids['project']}/training/new-schedule/", form)
    assert answer.status_code == 422


@pytest.mark.slow
@pytest.mark.django_db
def test_no_parameter_breaks_the_page_of_a_deletion(browser: Client, cloud: LocalCloud):
    lineage, (run,) = a_lineage(cloud, Clock())
    url = f"/models/{lineage.pk}/delete/"
    for word in TEXTS[1:]:
        assert 400 <= browser.get(url, query_params={"version": word}).status_code < 500, word[:40]
        form = {"name": word, "version": word, "run": word, "key": word, "reason": word}
        assert 400 <= browser.post(url, form).status_code < 500, word[:40]
    run.refresh_from_db()
    assert run.registration == "registered"
