"""A logged-in browser on the demo's incident, every document under a strict policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from ml_platform.demo.incident import load_incident
from ml_platform.models import Operation, Project, RegisteredModel
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.planes import Planes

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Route

    from ml_platform.localcloud import LocalCloud

STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(slots=True)
class Site:
    """The site with the incident on it, one browser page, and hands behind the scenes."""

    url: str
    page: Page
    cloud: LocalCloud
    ahead: timedelta = timedelta()

    def open(self, path: str) -> Page:
        """Go to a page of the site."""
        self.page.goto(self.url + path)
        return self.page

    def training(self, query: str = "") -> Page:
        """Go to the training page of the incident's project."""
        return self.open(f"/projects/{Project.objects.get().pk}/training/{query}")

    def model(self, name: str, rest: str = "") -> Page:
        """Go to a model's page."""
        return self.open(f"/models/{RegisteredModel.objects.get(model_name=name).pk}/{rest}")

    def clock(self) -> datetime:
        """The workers' clock, which runs ahead while they wait for Google."""
        return database_now() + self.ahead

    def settle(self) -> None:
        """Let the workers go on until nothing is left to do."""
        for _ in range(60):
            resume_operations(clock=self.clock)
            if not Operation.objects.live().exists():
                return
            self.ahead += timedelta(seconds=60)
        raise AssertionError(list(Operation.objects.live().values("kind", "step", "error")))

    @contextmanager
    def work(self) -> Iterator[None]:
        """Do what opens an operation, wait until it is there, and let the workers end it."""
        before = Operation.objects.count()
        yield
        for _ in range(100):
            if Operation.objects.count() > before:
                break
            self.page.wait_for_timeout(50)
        else:
            raise AssertionError("No operation was opened within five seconds.")
        self.settle()

    def another_browser(self, **options: Any) -> BrowserContext:
        """A second browser of the same person, whose console nobody reads."""
        browser = self.page.context.browser
        assert browser
        context = browser.new_context(**options)
        cookies: Any = self.page.context.cookies()
        context.add_cookies(cookies)
        return context

    def sweep(self) -> None:
        """Have a sweep look, as the timer would."""
        sweep(actor=Actor(label="timer", origin="scheduler"), clock=database_now)


def under_a_strict_policy(page: Page) -> None:
    """Send every document with a policy that allows nothing inline."""

    def strict(route: Route) -> Any:
        if route.request.resource_type != "document" or route.request.method != "GET":
            return route.fallback()
        answer = route.fetch(max_redirects=0)
        headers = {**answer.headers, "content-security-policy": STRICT}
        return route.fulfill(response=answer, headers=headers)

    page.route("**/*", strict)


@pytest.fixture
def log_in(live_server: Any) -> Callable[[Page], None]:
    """Logs a browser page in as a superuser, the same one each time."""

    def put(page: Page) -> None:
        users = get_user_model().objects
        user = users.filter(username="ana").first() or users.create_superuser("ana", password="pw")
        client = Client()
        client.force_login(user)
        session = client.cookies["sessionid"].value
        page.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])

    return put


@pytest.fixture(scope="session")
def seen() -> list[Planes]:
    """The incident after two sweeps have seen it, once it was made."""
    return []


@pytest.fixture
def site(
    cloud: LocalCloud,
    live_server: Any,
    browser_page: Page,
    log_in: Callable[[Page], None],
    settings: Any,
    seen: list[Planes],
) -> Site:
    """The incident, seen by two sweeps, and a browser that is logged in."""
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": f"{live_server.url}/",
        "WEBHOOK_SERVICE_ACCOUNTS": ["scheduler@demo.iam.gserviceaccount.com"],
    }
    under_a_strict_policy(browser_page)
    if seen:
        seen[0].put_back(cloud)
    log_in(browser_page)
    shown = Site(live_server.url, browser_page, cloud)
    if not seen:
        user = get_user_model().objects.get(username="ana")
        load_incident(cloud=cloud, user=user, now=database_now())
        shown.sweep()
        shown.sweep()
        seen.append(Planes.kept(cloud))
    return shown
