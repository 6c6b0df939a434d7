"""Hooks: one signal for each committed change, as often as it was committed, whatever dies."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.db.models import F, JSONField, Value
from django.db.models.functions import Cast
from django.dispatch import Signal
from django_tasks_db.models import DBTaskResult

from ml_platform import signals
from ml_platform.models import DeployedEndpoint, Event, Project
from ml_platform.models.states import EventKind
from ml_platform.services.events import outbox
from ml_platform.services.events.hooks import send_due
from ml_platform.signals import SIGNALS, Happened
from ml_platform.tests.factories import ProjectFactory

from .deploy_tools import deploy, finish, undeploy
from .world import Clock, a_lineage

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.any_database]

NAMES = {signal: name for name, signal in vars(signals).items() if isinstance(signal, Signal)}


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Happened]]]:
    """What receivers of all signals have heard."""
    told: list[tuple[str, Happened]] = []

    def listen(sender: object, signal: Signal, event: Happened, **_: Any) -> None:
        told.append((NAMES[signal], event))

    for signal in NAMES:
        signal.connect(listen)
    yield told
    for signal in NAMES:
        signal.disconnect(listen)


def of_kind(kind: EventKind, name: str = "rank") -> Event:
    return Event(kind=kind, subject_type="trainingrun", subject_id="1", subject_name=name)


def commit(*events: Event) -> None:
    with transaction.atomic():
        outbox.record(events)


def test_each_committed_change_is_heard_once_with_what_it_was(
    cloud: LocalCloud, heard: list[tuple[str, Happened]]
) -> None:
    clock = Clock()
    lineage, (run,) = a_lineage(cloud, clock)
    finish(deploy(run, clock), clock)
    finish(undeploy(DeployedEndpoint.objects.get(), clock), clock)
    send_due()
    committed = Event.objects.filter(kind__in=SIGNALS).order_by("seq")
    assert [event.id for _, event in heard] == [event.pk for event in committed]
    assert [name for name, _ in heard][-2:] == ["deployed", "undeployed"]
    assert {NAMES[SIGNALS[event.kind]] for _, event in heard} == {name for name, _ in heard}
    (serving,) = [event for name, event in heard if name == "deployed"]
    assert (serving.project_id, serving.model_id) == (lineage.project_id, lineage.pk)
    assert (serving.actor, serving.origin) == ("ana", "command")
    send_due()
    assert len(heard) == len(committed)


def test_without_a_receiver_nothing_is_kept_for_later() -> None:
    commit(of_kind(EventKind.DEPLOYED))
    assert (Event.objects.get().sent, DBTaskResult.objects.count()) == (True, 0)
    assert send_due() == 0


def test_nothing_is_heard_of_what_was_rolled_back(heard: list[tuple[str, Happened]]) -> None:
    with transaction.atomic():
        outbox.record([of_kind(EventKind.DEPLOYED)])
        transaction.set_rollback(True)
    assert (send_due(), heard) == (0, [])


def test_events_of_many_rows_are_heard_too(heard: list[tuple[str, Happened]]) -> None:
    ProjectFactory(name="a"), ProjectFactory(name="b")
    nothing = Cast(Value("{}"), JSONField())
    with transaction.atomic():
        outbox.record_selected(
            EventKind.FINDING_OPENED,
            Project.objects.all(),
            {
                **dict.fromkeys(("subject_type", "subject_id", "actor_label", "origin"), Value("")),
                "subject_name": F("name"),
                "before": nothing,
                "after": nothing,
            },
        )
    send_due()
    assert [(name, event.subject_name) for name, event in heard] == [
        ("drift_found", "a"),
        ("drift_found", "b"),
    ]


class Died(BaseException):
    """The process ends."""


def test_a_process_that_ends_in_a_receiver_leaves_the_rest_to_the_next(
    heard: list[tuple[str, Happened]],
) -> None:
    commit(of_kind(EventKind.DEPLOYED), of_kind(EventKind.UNDEPLOYED))
    dies = [True]

    def receiver(event: Happened, **_: Any) -> None:
        ProjectFactory(name=f"told-{event.id}")
        if dies:
            dies.clear()
            raise Died

    signals.undeployed.connect(receiver)
    try:
        with pytest.raises(Died):
            send_due()
        assert Event.objects.filter(sent=False).count() == 1
        assert send_due() == 1
    finally:
        signals.undeployed.disconnect(receiver)
    assert Project.objects.filter(name__startswith="told-").count() == 1
    assert heard[0][0] == "deployed"


def test_the_example_of_the_documentation_tells_slack(settings: Any) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "host.md").read_text()
    example = page.partition("## Hooks")[2].partition("```python\n")[2].partition("```")[0]
    told: list[bytes] = []

    class Slack(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Slack)
    settings.SLACK_URL = f"http://127.0.0.1:{server.server_port}/"
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.immediate.ImmediateBackend"}}
    thread = Thread(target=server.handle_request)
    thread.start()
    shop = ModuleType("shop_hooks")
    sys.modules["shop_hooks"] = shop
    try:
        exec(example, vars(shop))  # noqa: S102 - our own documentation
        commit(of_kind(EventKind.DEPLOYED))
    finally:
        signals.deployed.disconnect(shop.tell_slack)
        signals.version_lost.disconnect(shop.tell_slack)
        del sys.modules["shop_hooks"]
    thread.join(10)
    server.server_close()
    assert [json.loads(body) for body in told] == [{"text": "Deployed: rank, by nobody"}]


@pytest.mark.parametrize("error", [RuntimeError("no answer"), "sql"], ids=["any", "database"])
def test_a_receiver_that_fails_is_logged_and_stops_nothing(
    error: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def receiver(**_: Any) -> None:
        if error != "sql":
            raise error
        with connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")

    signals.deployed.connect(receiver)
    try:
        commit(of_kind(EventKind.DEPLOYED), of_kind(EventKind.DEPLOYED))
        with caplog.at_level(logging.ERROR):
            assert send_due() == 2
    finally:
        signals.deployed.disconnect(receiver)
    assert not Event.objects.filter(sent=False).exists()
    wrong = DatabaseError if error == "sql" else RuntimeError
    failed = [one.exc_info for one in caplog.records if one.name == "ml_platform.hooks"]
    assert [isinstance(info[1], wrong) for info in failed if info] == [True, True]


@pytest.mark.on_postgresql
def test_two_workers_send_each_once(heard: list[tuple[str, Happened]]) -> None:
    commit(*(of_kind(EventKind.DEPLOYED) for _ in range(20)))

    def work() -> None:
        send_due()
        connections.close_all()

    threads = [Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {event.id for _, event in heard} == set(Event.objects.values_list("pk", flat=True))
    assert len(heard) == 20
