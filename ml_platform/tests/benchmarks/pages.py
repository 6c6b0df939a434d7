"""A page of 100 models at every size against a bare view, and its growth with the models."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.wsgi import get_wsgi_application
from django.test import Client
from django.utils.crypto import get_random_string

from ml_platform.api.http.auth import make_token
from ml_platform.models.clock import database_now

from .ground import SEARCHED, use_database
from .pairs import Figure, compare

GOAL, GROWTH = 1.5, 1.3
ROUNDS = 30


class Site:
    """The whole site in this process, asked as its WSGI server would ask it."""

    def __init__(self) -> None:
        self.app = get_wsgi_application()
        self.headers: dict[str, dict[str, str]] = {}

    def log_in(self, database: str) -> None:
        """Make a caller in that database, once."""
        if database in self.headers:
            return
        use_database(database)
        user = get_user_model().objects.create_superuser("bench", password=get_random_string(9))
        _, token = make_token(user=user, name="bench", days=1, now=database_now())
        client = Client()
        client.force_login(user)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        self.headers[database] = {
            "HTTP_AUTHORIZATION": f"Bearer {token}",
            "HTTP_COOKIE": f"{settings.SESSION_COOKIE_NAME}={session}",
        }

    def get(self, database: str, path: str, query: str = "") -> bytes:
        """The body of the answer to a GET.

        :raises RuntimeError: it is not 200.
        """
        use_database(database)
        statuses: list[str] = []

        def begin(status: str, headers: Any, exc_info: Any = None) -> Any:
            statuses.append(status)

        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "testserver",
            "SERVER_PORT": "80",
            **self.headers[database],
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
            "wsgi.url_scheme": "http",
        }
        answer = self.app(environ, begin)
        body = b"".join(answer)
        answer.close()
        if not statuses[0].startswith("200"):
            raise RuntimeError(f"{path}?{query}: {statuses[0]} {body[:500]!r}")
        return body


def list_pages(site: Site, sizes: Sequence[int], database: str) -> Iterator[Figure]:
    """Each kind of page at each size against the bare view, then the largest against the least."""
    asked: dict[tuple[str, int], Callable[[], Any]] = {}
    for size in sizes:
        name = f"{database}-{size}"
        site.log_in(name)
        for kind, query in _kinds(site, name).items():
            ours = asked[kind, size] = _getter(site, name, "/api/models/", query)
            bare = _getter(site, name, "/bare/models/", f"after={size // 2}")
            yield compare(
                f"list, {kind}, {size:,} models",
                ours,
                bare,
                goal=GOAL,
                rounds=ROUNDS,
                note=f"{len(ours()):,} bytes, bare {len(bare()):,}",
            )
        asked[TRAINING, size] = _getter(site, name, "/projects/1/training/", "")
    if len(sizes) > 1:
        for kind in (*KINDS, TRAINING):
            yield compare(
                f"{kind}, growth {sizes[0]:,} to {sizes[-1]:,}",
                asked[kind, sizes[-1]],
                asked[kind, sizes[0]],
                goal=GROWTH,
                rounds=ROUNDS,
            )


TRAINING = "training page in HTML"
KINDS = ("first page", "deep page", "searched page")


def _kinds(site: Site, name: str) -> dict[str, str]:
    query = "page_size=100"
    total = json.loads(site.get(name, "/api/models/", query))["pagination"]["total"]
    # The page that begins in the middle; its cursor is that of the page before it.
    before = json.loads(site.get(name, "/api/models/", f"{query}&page={max(1, total // 200)}"))
    deep = f"{query}&cursor={before['pagination']['next_cursor']}"
    return dict(zip(KINDS, (query, deep, f"{query}&search={SEARCHED}"), strict=True))


def _getter(site: Site, name: str, path: str, query: str) -> Callable[[], bytes]:
    return lambda: site.get(name, path, query)
