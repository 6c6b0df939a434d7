"""Each answer is one snapshot: its numbers agree although another connection commits between any
two of its statements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from itertools import cycle
from typing import Any

import pytest
from django.core.management import call_command
from django.db import InternalError, OperationalError, connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from ml_platform import kpis
from ml_platform.cloud.transport import channels
from ml_platform.management.commands import audit_registry
from ml_platform.models import DeployedEndpoint, Project, RegisteredModel, TrainingRun, snapshot
from ml_platform.models.clock import database_now
from ml_platform.models.states import RunStatus
from ml_platform.services.operations.store import Actor
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    version_of,
)
from ml_platform.tests.incident_rows import finished_sweep

from .api_tools import bearer, logged_in, member_of

pytestmark = pytest.mark.django_db(transaction=True)
ANSWERS = 3
PAGES = (
    "/", "/projects/{project}/training/", "/models/{model}/", "/registry-health/", "/operations/",
)  # fmt: skip


class Writer:
    """Another connection, which commits a change whenever it is told to."""

    def __init__(self, projects: list[Project]) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._changes = cycle((*(lambda p=p: _add(p) for p in projects), _remove))
        self.commits = 0

    def write(self) -> None:
        """Commit the next change; returns when it is committed."""
        self._thread.submit(self._write, next(self._changes)).result(timeout=30)
        self.commits += 1

    def _write(self, change: Callable[[], None]) -> None:
        with transaction.atomic():
            change()

    def close(self) -> None:
        self._thread.submit(connections.close_all).result(timeout=30)
        self._thread.shutdown()


def _add(project: Project) -> None:
    lineage = RegisteredModelFactory.create(project=project, description="by the writer")
    run = version_of(lineage)
    DeployedEndpointFactory.create(registered_model=lineage, run=run, serving=True)
    TrainingScheduleFactory.create(registered_model=lineage)
    TrainingRunFactory.create(project=project, status=RunStatus.RUNNING, error="by the writer")


def _remove() -> None:
    mine = RegisteredModel.objects.filter(description="by the writer")
    runs = TrainingRun.objects.filter(registered_model__in=mine)
    DeployedEndpoint.objects.filter(registered_model__in=mine).delete()
    for lineage in mine:
        lineage.training_schedules.all().delete()
    mine.update(
        vertex_model_resource_name="", total_versions=0, latest_run=None, latest_registered_at=None
    )
    runs.delete()
    mine.delete()
    TrainingRun.objects.filter(error="by the writer").delete()


@pytest.fixture
def projects() -> list[Project]:
    made = ProjectFactory.create_batch(2)
    for project in made:
        _add(project)
    RegisteredModel.objects.update(description="")
    TrainingRun.objects.update(error="")
    finished_sweep(database_now())
    return list(made)


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
def program(projects: list[Project]) -> Client:
    return bearer(_member(projects))


@pytest.fixture
def browser(projects: list[Project]) -> Client:
    return logged_in(_member(projects))


def _member(projects: list[Project]) -> Any:
    user = member_of(projects[0])
    projects[1].members.add(user)
    return user


def _same(*numbers: int) -> None:
    assert len(set(numbers)) == 1, numbers


# ---- the counting paths ------------------------------------------------------------------------


@pytest.mark.slow
def test_the_four_counts(between):
    for _ in range(5 * ANSWERS):
        counts = between(kpis.four_counts)
        _same(counts.database, counts.projects, counts.registry_page)


@pytest.mark.slow
def test_the_numbers_of_the_dashboard(between, program):
    for _ in range(ANSWERS):
        body = between(lambda: program.get("/api/system/kpis/")).json()
        counts, assets, cards = body["counts"], body["assets"], body["projects"]
        of_cards = sum(card["models"] for card in cards)
        _same(counts["database"], counts["projects"], counts["registry_page"], of_cards)
        for name in ("models", "versions", "deployed", "endpoints_active", "runs", "runs_live"):
            _same(assets[name], sum(card[name] for card in cards))
        _same(counts["database"], assets["deployed"], assets["endpoints_active"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    ["models", "training-runs", "deployed-endpoints", "training/schedules", "operations", "audit"],
)
def test_a_list_and_its_total(between, program, path):
    for _ in range(ANSWERS):
        body = between(lambda: program.get(f"/api/{path}/?page_size=100")).json()
        _same(len(body["items"]), body["pagination"]["total"])
        if path == "models":
            kpi = body["kpi"]
            _same(kpi["total"], len(body["items"]), kpi["deployed"])
            assert all(item["deployment"]["status"] == "deployed" for item in body["items"])
        if path == "audit":
            counts = body["counts"]
            _same(counts["database"], counts["projects"], counts["registry_page"])


@pytest.mark.slow
def test_one_model_and_its_endpoints(between, program):
    model = RegisteredModel.objects.earliest("pk")
    for _ in range(ANSWERS):
        body = between(lambda: program.get(f"/api/models/{model.pk}/")).json()
        _same(len(body["endpoints"]), body["deployment"]["active_endpoints"], 1)


def test_the_starting_page(between, browser):
    for _ in range(ANSWERS):
        page = between(lambda: browser.get("/")).context["page"]
        figures = {figure.name: figure.value for figure in page["assets"]}
        strip = [int(plane["count"]) for plane in page["truth"]["planes"][:3]]
        cards = [
            {figure.name: figure.value for figure in card["figures"]} for card in page["cards"]
        ]
        _same(*strip, int(figures["Models"]), sum(int(card["Models"]) for card in cards))
        _same(int(figures["Deployed"]), sum(int(card["Deployed"]) for card in cards))
        _same(int(figures["Endpoints"]), sum(int(card["Endpoints"]) for card in cards))


def test_the_training_page(between, browser, projects):
    url = f"/projects/{projects[0].pk}/training/"
    for _ in range(ANSWERS):
        page = between(lambda: browser.get(url)).context["page"]
        figures = {figure.name: int(figure.value) for figure in page["figures"]}
        rows = page["registry"]["rows"]
        _same(figures["Models"], page["registry"]["pager"].total, len(rows))
        _same(figures["Deployed"], sum(row["serving"].label == "Deployed" for row in rows))
        _same(page["endpoints_pager"].total, len(page["endpoints"]), figures["Endpoints"])
        _same(page["runs_pager"].total, len(page["runs"]), figures["Runs"])
        _same(page["schedules_pager"].total, len(page["schedules"]), figures["Schedules"])


def test_the_audit(between, cloud, projects, monkeypatch):
    channels.storage_client().create_bucket("demo-artifacts")
    done = sweep(actor=Actor(label="tests", origin="command"), clock=database_now)
    monkeypatch.setattr(f"{audit_registry.__name__}.perform", lambda *_: done)
    for options in ({}, {"project": str(projects[0])}):
        body = between(lambda options=options: _audit(**options))
        registered = [row for row in body["records"] if row["versions"]]
        _same(body["counts"]["rows"], len(body["records"]))
        _same(body["counts"]["registered"], len(registered))
        _same(body["counts"]["vertex"], len(body["vertex"]))


def _audit(**options: Any) -> Any:
    out = StringIO()
    with pytest.raises(SystemExit):  # Vertex AI has none of these models
        call_command("audit_registry", format="json", stdout=out, **options)
    return json.loads(out.getvalue())


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
    assert len(captured) == 5


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
    begun: list[str | None] = []
    monkeypatch.setattr(
        "ml_platform.models.snapshots.connections", {"other": connection, "default": None}
    )
    real = transaction.atomic

    def atomic(using: str | None = None, **more: Any) -> Any:
        begun.append(using)
        return real(using=using, **more)

    monkeypatch.setattr("ml_platform.models.snapshots.transaction.atomic", atomic)
    settings.DATABASE_ROUTERS = [f"{__name__}.OnOther"]
    with snapshot():
        pass
    assert begun == [connection.alias]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_rendered_when_its_snapshot_is_closed(browser, projects, path):
    model = RegisteredModel.objects.filter(project=projects[0]).earliest("pk")
    with CaptureQueriesContext(connection) as captured:
        answer = browser.get(path.format(project=projects[0].pk, model=model.pk))
    statements = [query["sql"] for query in captured.captured_queries]
    assert answer.status_code == 200
    assert statements[-1] == "COMMIT"
    begun = next(n for n, sql in enumerate(statements) if sql.startswith("BEGIN"))
    assert any("auth_user" in sql for sql in statements[:begun])
    assert statements.count("COMMIT") == 1


def test_no_snapshot_is_open_while_google_is_called(program, cloud, monkeypatch):
    channels.storage_client()
    inside: list[bool] = []
    monkeypatch.setattr(
        "ml_platform.api.models.verify_page",
        lambda rows, items: not inside.append(connection.in_atomic_block),  # type: ignore[func-returns-value]
    )
    assert program.get("/api/models/?verify=live").status_code == 200
    assert inside == [False]
