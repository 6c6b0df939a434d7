"""What both are asked."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import quote, urlencode

from ml_platform.tests.benchmarks.cloud import BUCKET, TEMPLATE
from ml_platform.tests.benchmarks.ground import SEARCHED
from ml_platform.tests.benchmarks.servers import Client

API = "/api/2.0/mlflow"
LARGEST = 1000
"""Models of a page that MLflow gives at most."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A question, put to each in its own way; `query` is that of our list of models, if it is."""

    name: str
    theirs: Callable[[], bytes]
    ours: Callable[[], bytes]
    query: str = ""
    same: bool = True
    """Whether both must name the same models."""
    rounds: int = 1000
    """At most: one that takes a minute is asked less often."""


def cases(theirs: Client, ours: Client, models: int) -> list[Case]:
    """Every question; a page has 100 models."""

    def page(name: str, their: dict[str, str], our: dict[str, str], *, same: bool = True) -> Case:
        query = urlencode({"page_size": 100, **our})
        search = f"{API}/registered-models/search?{urlencode({'max_results': 100, **their})}"
        return Case(
            name=name,
            theirs=lambda: theirs.ask("GET", search),
            ours=lambda: ours.ask("GET", f"/api/models/?{query}"),
            query=query,
            same=same,
        )

    middle = {"page": str(max(1, models // 200))}
    before = json.loads(ours.ask("GET", f"/api/models/?page_size=100&{urlencode(middle)}"))
    deep = {"cursor": before["pagination"]["next_cursor"]}
    offset = base64.b64encode(json.dumps({"offset": models // 2}).encode()).decode()
    newest = {"order_by": "last_updated_timestamp DESC"}
    return [
        page("first page, in the order of each", {}, {}, same=False),
        page("page in the middle, by its token", {"page_token": offset}, deep, same=False),
        page("part of the name, 100 found", {"filter": f"name LIKE '%{SEARCHED}%'"},
             {"search": SEARCHED, "sort": "name"}),
        page("one type of three; in MLflow a tag", {"filter": "tags.type = 'ranking'"},
             {"type": "ranking", "sort": "name"}),
        page("first page by name", {}, {"sort": "name"}),
        page("first page, the newest first", newest, {}),
        Case(
            name="how many models; in MLflow a walk",
            theirs=lambda: walk(theirs),
            ours=lambda: ours.ask("GET", "/api/models/?page_size=1"),
            query="page_size=1",
            same=False,
            rounds=2,
        ),
        _create(theirs, ours),
    ]  # fmt: skip


def names(body: bytes) -> list[str]:
    """The names of the models in an answer of one of both."""
    answer = json.loads(body)
    return [model["name"] for model in answer.get("items", answer.get("registered_models", []))]


def walk(theirs: Client) -> bytes:
    """Count by reading all pages, because MLflow tells no total; the last page."""
    path = f"{API}/registered-models/search?max_results={LARGEST}"
    body, token = b"", ""
    while not body or token:
        body = theirs.ask("GET", f"{path}&page_token={quote(token)}" if token else path)
        token = json.loads(body).get("next_page_token", "")
    return body


def _create(theirs: Client, ours: Client) -> Case:
    number = count()

    def a_model_and_its_version() -> bytes:
        name = {"name": f"made-{next(number)}"}
        theirs.ask("POST", f"{API}/registered-models/create", name)
        source = name | {"source": f"gs://{BUCKET}/runs/made/pushed_model/1"}
        return theirs.ask("POST", f"{API}/model-versions/create", source)

    def a_run() -> bytes:
        body: dict[str, Any] = {
            "project": 1,
            "model_name": f"made-{next(number)}",
            "model_type": "ranking",
            "template_uri": f"gs://{BUCKET}/{TEMPLATE}",
        }
        return ours.ask("POST", "/api/training-runs/", body)

    return Case(
        name="create a model and its version; ours a run",
        theirs=a_model_and_its_version,
        ours=a_run,
        same=False,
    )
