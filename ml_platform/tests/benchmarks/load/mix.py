"""What the clients of a load ask: 70 % lists, 20 % items, 10 % pages in HTML."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from random import Random

from ml_platform.tests.benchmarks.ground import PROJECTS, SEARCHED
from ml_platform.tests.benchmarks.servers import Client

LISTS, ITEMS, PAGES = 70, 20, 10
DIFFERENT = 10_000
"""Requests until they come again."""


def paths(client: Client, models: int) -> Sequence[str]:
    """The paths in the order in which they are asked, the same in every run."""
    dice = Random(0)
    middle = f"/api/models/?page_size=100&page={max(1, models // 200)}"
    cursor = json.loads(client.ask("GET", middle))["pagination"]["next_cursor"]
    lists = [
        "/api/models/?page_size=100",
        f"/api/models/?page_size=100&cursor={cursor}",
        f"/api/models/?page_size=100&search={SEARCHED}",
        "/api/models/?page_size=100&type=ranking",
        "/api/training-runs/",
        "/api/deployed-endpoints/?active=true",
        "/api/operations/",
    ]
    items = ["/api/models/{model}/", "/api/models/{model}/versions/", "/api/training-runs/{model}/"]
    pages = ["/", "/projects/{project}/training/", "/models/{model}/", "/registry-health/"]
    kinds = dice.choices([lists, items, pages], [LISTS, ITEMS, PAGES], k=DIFFERENT)
    return [
        dice.choice(kind).format(model=dice.randint(1, models), project=dice.randint(1, PROJECTS))
        for kind in kinds
    ]


def asker(port: int, headers: Mapping[str, str], asked: Sequence[str]) -> Callable[[int], str]:
    """What one thread asks with, over a connection of its own."""
    client = Client(port, headers)

    def ask(number: int) -> str:
        path = asked[number % len(asked)]
        try:
            status, body = client.answer("GET", path)
        except (OSError, http.client.HTTPException) as error:
            return f"{path}: {error!r}"
        return "" if status == 200 else f"{path}: {status} {body[:200]!r}"

    return ask
