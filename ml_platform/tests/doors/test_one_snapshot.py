"""Each answer is one snapshot: its numbers agree although another connection commits between any
two of its statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import InternalError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from ml_platform import kpis
from ml_platform.cloud.transport import channels
from ml_platform.models import Project, RegisteredModel, snapshot
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor
from ml_platform.services.sweeps.sweep import sweep

from .counting import AUDITS, PATHS, Callers, Writer, two_projects

pytestmark = pytest.mark.django_db(transaction=True)
ANSWERS = 3
PAGES = (
    "/", "/projects/{project}/training/", "/models/{model}/", "/registry-health/", "/operations/",
)  # fmt: skip


@pytest.fixture
def projects() -> list[Project]:
    return two_projects()


@pytest.fixture
def between(projects: list[Project]) -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Call something while the writer commits between any two of its statements."""
    writer = Writer(projects)

    def write_after(execute: Any, sql: str, *rest: Any) -> Any:
        found = execute(sql, *rest)
        if sql.startswith("SELECT"):
            writer.write()
        return found

    def call(read: Callable[[], Any]) -> Any:
        before = writer.commits
        with connection.execute_wrapper(write_after):
            answer = read()
        assert writer.commits > before + 1
        return answer

    yield call
    writer.close()


@pytest.fixture
def callers(projects: list[Project]) -> Callers:
    return Callers(projects)


# ---- the counting paths ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_no_answer_contradicts_itself(between, callers, path):
    for _ in range(ANSWERS):
        PATHS[path](callers, between)


@pytest.mark.slow
def test_no_audit_contradicts_itself(between, callers, cloud):
    channels.storage_client().create_bucket("demo-artifacts")
    sweep(actor=Actor(label="tests", origin="command"), clock=database_now)
    for check in AUDITS.values():
        check(callers, between)


# ---- the transaction itself --------------------------------------------------------------------


def test_it_is_read_only_where_the_database_enforces_it(projects):
    write = RegisteredModel.objects.filter(pk=0)
    if connection.vendor == "sqlite":
        with snapshot():
            pass
    else:
        with pytest.raises(InternalError, match="read-only"), snapshot():
            write.update(description="written")
    write.update(description="written")


def test_it_never_waits_for_a_writer_whatever_mode_the_host_has_set(projects):
    """With BEGIN IMMEDIATE a second connection would be refused or wait."""
    if connection.vendor == "sqlite":
        assert connection.settings_dict["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    with CaptureQueriesContext(connection) as captured, snapshot():
        kpis.registered_models().count()
    begin, *_, end = (query["sql"] for query in captured.captured_queries)
    assert (begin, end) == (
        "BEGIN DEFERRED" if connection.vendor == "sqlite" else "BEGIN", "COMMIT",
    )  # fmt: skip
    assert len(captured) == (3 if connection.vendor == "sqlite" else 4)
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        pass
    if connection.vendor == "sqlite":
        assert captured.captured_queries[0]["sql"] == "BEGIN IMMEDIATE"


def test_inside_an_open_transaction_it_adds_nothing(projects):
    with transaction.atomic(), CaptureQueriesContext(connection) as captured:
        with snapshot():
            RegisteredModel.objects.update(description="written")
        with snapshot():
            kpis.registered_models().count()
    assert len(captured) == 2
    with snapshot(), CaptureQueriesContext(connection) as captured:
        kpis.four_counts()
    assert len(captured) == 2


def test_a_failure_in_it_is_raised_and_leaves_no_transaction(projects):
    with pytest.raises(OperationalError, match="gone"), snapshot():
        raise OperationalError("gone")
    assert not connection.in_atomic_block
    assert connection.get_autocommit()


class OnOther:
    """A host's router that keeps our tables in a database of their own."""

    def db_for_write(self, model: type, **hints: Any) -> str:
        return "other"


def test_it_is_in_the_database_that_the_hosts_router_writes_to(projects, settings, monkeypatch):
    monkeypatch.setattr(
        "ml_platform.models.database.connections", {"other": connection, "default": None}
    )
    begun: list[str | None] = []
    real = transaction.atomic

    def atomic(using: str | None = None) -> Any:
        begun.append(using)
        return real()

    monkeypatch.setattr("ml_platform.models.database.transaction.atomic", atomic)
    settings.DATABASE_ROUTERS = [f"{__name__}.OnOther"]
    with snapshot():
        pass
    assert begun == ["other"]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_rendered_when_its_snapshot_is_closed(callers, projects, path):
    model = RegisteredModel.objects.filter(project=projects[0]).earliest("pk")
    with CaptureQueriesContext(connection) as captured:
        answer = callers.browser.get(path.format(project=projects[0].pk, model=model.pk))
    statements = [query["sql"] for query in captured.captured_queries]
    assert answer.status_code == 200
    assert statements[-1] == "COMMIT"
    begun = next(n for n, sql in enumerate(statements) if sql.startswith("BEGIN"))
    assert any("auth_user" in sql for sql in statements[:begun])
    assert statements.count("COMMIT") == 1


def test_no_snapshot_is_open_while_google_is_called(callers, cloud, monkeypatch):
    channels.storage_client()
    inside: list[bool] = []
    monkeypatch.setattr(
        "ml_platform.api.models.verify_page",
        lambda rows, items: not inside.append(connection.in_atomic_block),  # type: ignore[func-returns-value]
    )
    assert callers.program.get("/api/models/?verify=live").status_code == 200
    assert inside == [False]
