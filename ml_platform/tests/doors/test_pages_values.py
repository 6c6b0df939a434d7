"""The values that pages give their templates, which no class declares."""

from __future__ import annotations

from typing import Any

import pytest
from django.shortcuts import render
from django.test import Client

from ml_platform.pages import layout

from .garbage import admin, browser, ids
from .test_garbage_pages import page_urls

__all__ = ["admin", "browser", "ids"]  # fixtures

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

OPTIONAL = {
    "back", "holder",  # of an error
    "error",  # of a form
    "changes",  # of an operation in the history of a model
    "url",  # of a row in the history
    "requests", "latency", "spark",  # where Cloud Monitoring was not read
    "note", "took", "started",  # of a step that is ahead
}  # fmt: skip


def strict(value: Any, missing: set[str]) -> Any:
    """The same values; a name that they do not have is noted."""

    class Strict(dict[str, Any]):
        def __missing__(self, key: str) -> Any:
            missing.add(key)
            raise KeyError(key)

    if isinstance(value, dict):
        return Strict({name: strict(each, missing) for name, each in value.items()})
    return [strict(each, missing) for each in value] if isinstance(value, list | tuple) else value


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    found: set[str] = set()

    def strictly(request: Any, template: str, context: dict[str, Any], **more: Any) -> Any:
        page = strict(context["page"], found)
        return render(request, template, {**context, "page": page}, **more)

    monkeypatch.setattr(layout, "render", strictly)
    return found


@pytest.mark.slow
def test_templates_use_only_names_that_their_page_gives(
    browser: Client, ids: dict[str, Any], missing: set[str]
):
    for url in (url for url in page_urls(ids) if not url.endswith("/check/")):
        browser.get(url)
    assert missing <= OPTIONAL
    assert "changes" in missing  # so names are looked up strictly
