"""The counting paths: each asks for one answer, and checks that its numbers agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from io import StringIO
from itertools import cycle
from typing import Any, TypeAlias
from unittest.mock import patch

from django.core.management import call_command
from django.db import connections, transaction
from django.test import Client

from ml_platform import kpis
from ml_platform.management.commands import audit_registry
from ml_platform.models import DeployedEndpoint, Project, RegisteredModel, Sweep, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.models.states import RunStatus
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

Ask: TypeAlias = Callable[[Callable[[], Any]], Any]
"""Reads one answer, while somebody writes."""


class Writer:
    """Another connection, which commits a change whenever it is told to."""

    def __init__(self, projects: Sequence[Project]) -> None:
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


def two_projects() -> list[Project]:
    """Two projects with a model each, which the writer leaves alone."""
    made = ProjectFactory.create_batch(2)
    for project in made:
        _add(project)
    RegisteredModel.objects.update(description="")
    TrainingRun.objects.update(error="")
    finished_sweep(database_now())
    return list(made)


class Callers:
    """Who asks: a program and a browser of members of both projects."""

    def __init__(self, projects: Sequence[Project]) -> None:
        self.projects = projects
        self.program: Client = bearer(self._member())
        self.browser: Client = logged_in(self._member())

    def _member(self) -> Any:
        user = member_of(self.projects[0])
        self.projects[1].members.add(user)
        return user

    def get(self, path: str) -> Any:
        """What the API answers to the program."""
        return self.program.get(f"/api/{path}").json()


def _same(*numbers: int) -> None:
    assert len(set(numbers)) == 1, numbers


# ---- the paths -----------------------------------------------------------------------------------


def _four_counts(callers: Callers, ask: Ask) -> None:
    del callers
    counts = ask(kpis.four_counts)
    _same(counts.database, counts.projects, counts.registry_page)


def _dashboard(callers: Callers, ask: Ask) -> None:
    body = ask(lambda: callers.get("system/kpis/"))
    counts, assets, cards = body["counts"], body["assets"], body["projects"]
    of_cards = sum(card["models"] for card in cards)
    _same(counts["database"], counts["projects"], counts["registry_page"], of_cards)
    for name in ("models", "versions", "deployed", "endpoints_active", "runs", "runs_live"):
        _same(assets[name], sum(card[name] for card in cards))
    _same(counts["database"], assets["deployed"], assets["endpoints_active"])


def _list(callers: Callers, ask: Ask, *, of: str) -> None:
    body = ask(lambda: callers.get(f"{of}/?page_size=100"))
    _same(len(body["items"]), body["pagination"]["total"])
    if of == "models":
        kpi = body["kpi"]
        _same(kpi["total"], len(body["items"]), kpi["deployed"])
        assert all(item["deployment"]["status"] == "deployed" for item in body["items"])
    if of == "audit":
        counts = body["counts"]
        _same(counts["database"], counts["projects"], counts["registry_page"])


def _model(callers: Callers, ask: Ask) -> None:
    model = RegisteredModel.objects.earliest("pk")
    body = ask(lambda: callers.get(f"models/{model.pk}/"))
    _same(len(body["endpoints"]), body["deployment"]["active_endpoints"], 1)


def _starting_page(callers: Callers, ask: Ask) -> None:
    page = ask(lambda: callers.browser.get("/")).context["page"]
    figures = {figure.name: figure.value for figure in page["assets"]}
    strip = [int(plane["count"]) for plane in page["truth"]["planes"][:3]]
    cards = [{figure.name: figure.value for figure in card["figures"]} for card in page["cards"]]
    _same(*strip, int(figures["Models"]), sum(int(card["Models"]) for card in cards))
    _same(int(figures["Deployed"]), sum(int(card["Deployed"]) for card in cards))
    _same(int(figures["Endpoints"]), sum(int(card["Endpoints"]) for card in cards))


def _training_page(callers: Callers, ask: Ask) -> None:
    url = f"/projects/{callers.projects[0].pk}/training/"
    page = ask(lambda: callers.browser.get(url)).context["page"]
    figures = {figure.name: int(figure.value) for figure in page["figures"]}
    rows = page["registry"]["rows"]
    _same(figures["Models"], page["registry"]["pager"].total, len(rows))
    _same(figures["Deployed"], sum(row["serving"].label == "Deployed" for row in rows))
    _same(page["endpoints_pager"].total, len(page["endpoints"]), figures["Endpoints"])
    _same(page["runs"]["pager"].total, len(page["runs"]["rows"]), figures["Runs"])
    _same(page["schedules_pager"].total, len(page["schedules"]), figures["Schedules"])


def _audit(callers: Callers, ask: Ask, *, of_project: bool) -> None:
    project = {"project": str(callers.projects[0])} if of_project else {}
    body = ask(partial(audit_of_newest, **project))
    registered = [row for row in body["records"] if row["versions"]]
    _same(body["counts"]["rows"], len(body["records"]))
    _same(body["counts"]["registered"], len(registered))
    _same(body["counts"]["vertex"], len(body["vertex"]))


def audit_of_newest(**options: Any) -> Any:
    """What the audit's command prints of the newest sweep, without another one."""
    out, done = StringIO(), Sweep.objects.finished().first()
    # It exits with 1, because Vertex AI has none of these models.
    with patch.object(audit_registry, "perform", lambda *_: done), suppress(SystemExit):
        call_command("audit_registry", format="json", stdout=out, **options)
    return json.loads(out.getvalue())


PATHS: Mapping[str, Callable[[Callers, Ask], None]] = {
    "the counts of the strip": _four_counts,
    "the dashboard": _dashboard,
    **{
        f"the list of {of}": partial(_list, of=of)
        for of in (
            "models",
            "training-runs",
            "deployed-endpoints",
            "training/schedules",
            "operations",
            "audit",
        )
    },
    "one model": _model,
    "the starting page": _starting_page,
    "the training page": _training_page,
}
AUDITS: Mapping[str, Callable[[Callers, Ask], None]] = {
    "the audit": partial(_audit, of_project=False),
    "the audit of a project": partial(_audit, of_project=True),
}
"""They need a sweep that has read the planes."""
