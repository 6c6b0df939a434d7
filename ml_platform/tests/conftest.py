"""What all tests stand on: the run's database, the local cloud, a browser, a closed network."""

from __future__ import annotations

import gc
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from .browsers import ARGUMENTS, MISSING, find_browser
from .commits import imitate_commits
from .settings import RUN_DIRECTORY
from .template import Template

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Route

    from ml_platform.localcloud import LocalCloud

FOLDER = Path(__file__).parent
LOOPBACK = ("127.", "::1", "localhost")
DATABASE_FIXTURES = {"db", "transactional_db", "live_server"}
LONG = ("host", "hosts", "stateful")
"""Folders whose tests play processes or histories, and begin first."""
WITHOUT_DATABASE = "localcloud"
"""The folder of the tests that never use the database; to import them takes two seconds."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database-only",
        action="store_true",
        help="run only the tests that use the database: the rest cannot tell one from another",
    )
    parser.addoption(
        "--first-cases",
        action="store_true",
        help="run only the first case of each test that uses the database: the dearest part",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the run's directory, and close the network.

    Python's sockets are closed by a guard, gRPC's own by a proxy that nobody answers.
    """
    directory = Path(RUN_DIRECTORY)
    if not directory.exists():
        directory.mkdir()
        config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))
    os.environ.update(
        http_proxy="http://127.0.0.1:9",
        https_proxy="http://127.0.0.1:9",
        no_proxy="127.0.0.1,localhost,::1",
    )
    _guard("connect")
    _guard("connect_ex")


def _guard(method: str) -> None:
    original = getattr(socket.socket, method)

    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(LOOPBACK):
            self.close()
            raise RuntimeError(f"A test reached for {address[0]}: the network is closed to tests.")
        return original(self, address)

    setattr(socket.socket, method, guarded)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what a run of the tests with a database would import for nothing."""
    ignored = config.getoption("--database-only") and collection_path == FOLDER / WITHOUT_DATABASE
    return True if ignored else None


@pytest.hookimpl(trylast=True)  # after `-m` and `-k`: the first of the cases that they left
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = items
    if config.getoption("--database-only"):
        chosen = [item for item in chosen if _is_for_both(item)]
    if config.getoption("--first-cases"):
        chosen = first_cases(chosen)
    kept = set(chosen)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = sorted(chosen, key=lambda item: not _is_long(item))


def first_cases(items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests without a database, with all their cases, and the first case of each other."""
    seen: set[str] = set()
    chosen = []
    for item in items:
        test = item.nodeid.partition("[")[0]
        if not (_uses_database(item) and test in seen):
            chosen.append(item)
        seen.add(test)
    return chosen


def pytest_collection_finish() -> None:
    """Spare the garbage collector what the whole run keeps: modules, tests, Django's models.

    Queries make so many short-lived objects that it would look through them every few statements;
    looking thirty times more rarely takes a twentieth off a test's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _is_long(item: pytest.Item) -> bool:
    """Whether it may take half a minute: at the end of a run, the other workers would wait."""
    return item.path.parent.name in LONG


def _is_for_both(item: pytest.Item) -> bool:
    one = ("sqlite_only", "any_database")
    return _uses_database(item) and not any(item.get_closest_marker(name) for name in one)


def _uses_database(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return bool(fixtures & DATABASE_FIXTURES) or item.get_closest_marker("django_db") is not None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test proves nothing, so a run with one is not a passing run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped") and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def database_template(request: pytest.FixtureRequest) -> Template | None:
    """What SQLite's test database is a copy of; pytest's cache has the room for it."""
    cache = getattr(request.config, "cache", None)
    if cache is None or connections["default"].vendor != "sqlite":
        return None
    return Template(cache.mkdir("test-database"))


@pytest.fixture(scope="session")
def django_db_keepdb(
    django_db_modify_db_settings: None, django_db_keepdb: bool, database_template: Template | None
) -> bool:
    """Whether the database is there already: as a copy of the template."""
    return django_db_keepdb or (database_template is not None and database_template.copy())


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, database_template: Template | None) -> Iterator[None]:
    """As pytest-django's; then child processes of a test open the test's own database."""
    if database_template is not None:
        database_template.keep()
    name = str(connections["default"].settings_dict["NAME"])
    with _environment(ML_PLATFORM_TEST_DB_NAME=name), pytest.MonkeyPatch.context() as patch:
        imitate_commits(patch)
        if connections["default"].vendor == "postgresql":
            from .emptying import delete_few_rows  # imports psycopg, which SQLite runs need not

            delete_few_rows(patch)
        yield


@pytest.fixture(scope="session")
def local_cloud() -> Iterator[LocalCloud]:
    """The one local cloud of the run. Tests ask for `cloud`, which is this one emptied."""
    from ml_platform.localcloud import LocalCloud

    with LocalCloud(project="demo-project", location="europe-central2") as cloud:
        yield cloud


@pytest.fixture
def cloud(local_cloud: LocalCloud, settings: Any) -> Iterator[LocalCloud]:
    """An empty local cloud that ML_PLATFORM, here and in child processes, points at."""
    local_cloud.reset()
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "LOCAL_CLOUD": local_cloud.grpc_target,
        "LOCAL_CLOUD_HTTP": local_cloud.http_url,
    }
    with _environment(
        ML_PLATFORM_LOCAL_CLOUD=local_cloud.grpc_target,
        ML_PLATFORM_LOCAL_CLOUD_HTTP=local_cloud.http_url,
    ):
        yield local_cloud


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, started once."""
    from playwright.sync_api import sync_playwright

    path = find_browser()
    if not path:
        pytest.fail(MISSING, pytrace=False)
    # Playwright keeps an event loop in this thread, which Django's ORM would refuse to work beside.
    unsafe = _environment(DJANGO_ALLOW_ASYNC_UNSAFE="true")
    with unsafe, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def browser_page(browser: Browser) -> Iterator[Page]:
    """A fresh page; the test fails when it met a script error or asked a foreign host."""
    context = browser.new_context()
    context.set_default_timeout(10_000)
    page = context.new_page()
    complaints: list[str] = []

    def local_only(route: Route) -> None:
        host = route.request.url.split("/")[2] if "//" in route.request.url else ""
        if not host or host.startswith(LOOPBACK):
            return route.continue_()
        complaints.append(f"asked {host}")
        return route.abort()

    def console(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(f"console: {message.text}")

    context.route("**/*", local_only)
    page.on("pageerror", lambda error: complaints.append(f"script error: {error}"))
    page.on("console", console)
    yield page
    context.close()
    assert complaints == []
