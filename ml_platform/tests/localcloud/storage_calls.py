"""Requests to Cloud Storage's JSON API past every client library."""

from __future__ import annotations

from typing import Any

import requests

from ml_platform.localcloud import LocalCloud

B = "artifacts"


def call(
    cloud: LocalCloud, verb: str, path: str, body: Any = None, **more: Any
) -> requests.Response:
    """One request; `path` begins behind the host."""
    return requests.request(verb, f"{cloud.http_url}{path}", json=body, timeout=5, **more)


def item(answer: requests.Response) -> dict[str, Any]:
    """The one item of an error answer."""
    found: dict[str, Any] = answer.json()["error"]["errors"][0]
    return found
