"""What every JSON call has around it: partial answers, and the failures of the Retry Test API."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ...server.http_types import Reply, Request, Route
from .fields import filtered, mask_of
from .retry_tests import RetryTests


def surfaced(api: Sequence[Route], tests: RetryTests) -> list[Route]:
    """The same routes, with `fields` and retry tests honoured, and the routes of the tests."""
    tests.methods = {route.call for route in api if route.call}
    around = (route._replace(handler=partial(_serve, route, tests)) for route in api)
    return [*tests.routes(), *around]


def _serve(route: Route, tests: RetryTests, request: Request, **groups: str) -> Reply:
    # An unknown field is refused before anything is written.
    mask = mask_of(request, route.call)
    return tests.play(
        route.call, request, lambda asked: filtered(route.handler(asked, **groups), mask)
    )
