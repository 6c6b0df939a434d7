"""The event log: one event for each committed change or refusal, in the transaction of it."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction

import ml_platform
from ml_platform.errors import Conflict
from ml_platform.models import (
    DeployedEndpoint,
    Event,
    Finding,
    Operation,
    RegisteredModel,
    Sweep,
    TrainingRun,
)
from ml_platform.models.clock import database_now
from ml_platform.models.states import (
    EventKind,
    FindingStatus,
    OperationKind,
    OperationStatus,
    Registration,
    RunStatus,
)
from ml_platform.services.cleanup import orphans
from ml_platform.services.deployment.deploy import deploy_run
from ml_platform.services.deployment.endpoint_state import record_serving, record_stopped
from ml_platform.services.deployment.undeploy import delete_endpoint
from ml_platform.services.events import outbox
from ml_platform.services.findings import decisions, endings
from ml_platform.services.findings import store as findings
from ml_platform.services.findings.discrepancy import Discrepancy
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations import store
from ml_platform.services.operations.retry_cancel import request_cancel, retry_operation
from ml_platform.services.operations.store import Actor, open_operation
from ml_platform.services.operations.subjects import subject_of_run
from ml_platform.services.operations.work import Work
from ml_platform.services.projects.archive import archive_project, unarchive_project
from ml_platform.services.projects.changes import (
    add_member,
    create_project,
    remove_member,
    rename_project,
)
from ml_platform.services.registration.approval import approve_version, withdraw_approval
from ml_platform.services.registry.lineages import clear_pointer, record_version
from ml_platform.services.registry.tags import set_tags
from ml_platform.services.serving.config import ServingConfig
from ml_platform.services.training.runs import cancel_run, delete_run
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.event_log import disagreements
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    UserFactory,
    version_of,
)

ANA = Actor(label="ana", origin="page")
ROOT = Path(ml_platform.__file__).parent
RECORDERS = {
    "services/operations/work.py",
    "services/operations/history.py",
    "services/findings/events.py",
}


# ---- who records -------------------------------------------------------------------------------


def writers(source: str) -> list[str]:
    """Names by which the source could write events, apart from reading them."""
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    found = [
        name.name
        for node in imports
        for name in node.names
        if (node.module or "").startswith("ml_platform.services.events")
        and node.module != "ml_platform.services.events.hooks"  # it sends what was written
    ]
    if any(node.module == "ml_platform.models" and _names_event(node) for node in imports):
        calls = [ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)]
        writes = ("Event.objects.create", "Event.objects.bulk_create")
        found += [call for call in calls if call == "Event" or call in writes]
    return found


def _names_event(node: ast.ImportFrom) -> bool:
    return any(name.name == "Event" for name in node.names)


@pytest.mark.slow
def test_only_commits_findings_and_refusals_record_events():
    """Refusals are recorded beside the changes of one transaction."""
    for path in ROOT.rglob("*.py"):
        name = str(path.relative_to(ROOT))
        if not name.startswith(("tests/", "migrations/", "services/events/", *RECORDERS)):
            assert writers(path.read_text()) == [], name
    assert "outbox" in writers("from ml_platform.services.events import outbox")
    assert writers("from ml_platform.models import Event\nEvent(kind=1)") == ["Event"]


@pytest.mark.django_db(transaction=True)
def test_an_event_outside_a_transaction_is_refused():
    with pytest.raises(RuntimeError, match="in the transaction of its change"):
        outbox.record([Event(kind=EventKind.DEPLOYED)])
    assert Event.objects.count() == 0


# ---- each kind ---------------------------------------------------------------------------------


def an_operation(lineage: RegisteredModel | None = None, **options: Any) -> Operation:
    run = version_of(lineage or RegisteredModelFactory.create())
    operation, _ = open_operation(
        **{
            "workflow": WORKFLOWS["register-run"],
            "subject": subject_of_run(run),
            "actor": ANA,
            "now": database_now(),
            **options,
        }
    )
    return operation


def ended(status: OperationStatus) -> Operation:
    operation = an_operation(queue=True)
    work = store.claim(operation_id=operation.pk, clock=database_now)
    assert work is not None
    work.commit(status=status, finished_at=database_now(), error="No.", error_code="no")
    return work.operation


def retried() -> None:
    retry_operation(operation=ended(OperationStatus.FAILED), actor=ANA)


def refused() -> None:
    with pytest.raises(Conflict):
        deploy_run(run=TrainingRunFactory.create(failed=True), actor=ANA, now=database_now())


def registered() -> None:
    """With the real upload: test_registration; restored: test_reconciliation."""
    record(EventKind.MODEL_REGISTERED, Registration.NONE)


def restored() -> None:
    record(EventKind.VERSION_RESTORED, Registration.LOST)


def record(kind: EventKind, before: Registration) -> None:
    run = version_of(RegisteredModelFactory.create())
    record_version(kind, run=run, before=before, vertex_version="models/a@1", operation=None)


def cleared(registration: Registration) -> None:
    run = version_of(RegisteredModelFactory.create())
    clear_pointer(run=run, registration=registration, operation=an_operation())


def decided(verb: Callable[..., object]) -> None:
    run = version_of(RegisteredModelFactory.create())
    verb(run=run, actor=ANA, reason="Compared.", now=database_now())


def orphan_deleted() -> None:
    RegisteredModelFactory.create()
    orphans.clean_up_orphans(days=1, actor=ANA, clock=database_now)


def an_endpoint() -> DeployedEndpoint:
    run = version_of(RegisteredModelFactory.create())
    made: DeployedEndpoint = DeployedEndpointFactory.create(
        registered_model=run.registered_model, run=run
    )
    return made


def deployed() -> DeployedEndpoint:
    endpoint = an_endpoint()
    assert endpoint.run_id
    record_serving(
        service=endpoint.service_name, run_id=endpoint.run_id, config=ServingConfig(),
        url="https://a", revision="a-1", now=database_now(),
    )  # fmt: skip
    return endpoint


def a_sweep() -> Sweep:
    return Sweep.objects.create(actor_label="ana", started_at=database_now())


def opened(count: int = 1) -> Finding:
    drifts = [
        Discrepancy(
            kind=FindingKind.UNMANAGED, subject=f"m{n}", title=f"m{n}", repair="-", evidence={}
        )
        for n in range(count)
    ]
    findings.keep_findings(found=drifts, sweep=a_sweep(), now=database_now())
    return Finding.objects.earliest("pk")


def closed() -> None:
    opened()
    endings.close_unseen(kinds=[FindingKind.UNMANAGED], sweep=a_sweep(), now=database_now())


def repaired() -> None:
    finding, operation = opened(), an_operation()
    findings.link_findings(
        operation=operation, kinds=[FindingKind.UNMANAGED], subject=finding.subject
    )
    done = FindingStatus.REPAIRED
    endings.end_findings(operation=operation, status=done, now=database_now())


def ignored() -> Finding:
    finding = opened()
    decisions.ignore_finding(finding=finding, actor=ANA, reason="Known.", now=database_now())
    finding.refresh_from_db()
    return finding


def changed_member(*verbs: Callable[..., object]) -> None:
    project, user = ProjectFactory.create(), UserFactory.create()
    for verb in verbs:
        verb(project=project, user=user.username, actor=ANA, now=database_now())


def archived(*verbs: Callable[..., object]) -> None:
    project = ProjectFactory.create()
    for verb in verbs:
        verb(project=project, reason="", actor=ANA, now=database_now())


def tagged() -> None:
    model = version_of(RegisteredModelFactory.create()).registered_model
    set_tags(model=model, add={"team": "search"}, actor=ANA, now=database_now())


PRODUCERS: dict[EventKind, Callable[[], object]] = {
    EventKind.OPERATION_STARTED: an_operation,
    EventKind.OPERATION_RETRIED: retried,
    EventKind.OPERATION_SUCCEEDED: lambda: ended(OperationStatus.SUCCEEDED),
    EventKind.OPERATION_FAILED: lambda: ended(OperationStatus.FAILED),
    EventKind.OPERATION_CANCELLED: lambda: request_cancel(
        operation=an_operation(queue=True), actor=ANA, now=database_now()
    ),
    EventKind.OPERATION_REFUSED: refused,
    EventKind.RUN_ENDED: lambda: cancel_run(
        run=TrainingRunFactory.create(), actor=ANA, now=database_now()
    ),
    EventKind.RUN_DELETED: lambda: delete_run(
        run=TrainingRunFactory.create(failed=True), actor=ANA, now=database_now()
    ),
    EventKind.MODEL_REGISTERED: registered,
    EventKind.MODEL_DELETED: orphan_deleted,
    EventKind.VERSION_LOST: lambda: cleared(Registration.LOST),
    EventKind.VERSION_RESTORED: restored,
    EventKind.VERSION_DELETED: lambda: cleared(Registration.DELETED),
    EventKind.VERSION_APPROVED: lambda: decided(approve_version),
    EventKind.APPROVAL_WITHDRAWN: lambda: decided(withdraw_approval),
    EventKind.TAGS_CHANGED: tagged,
    EventKind.DEPLOYED: deployed,
    EventKind.UNDEPLOYED: lambda: record_stopped(service=deployed().service_name),
    EventKind.ENDPOINT_DELETED: lambda: delete_endpoint(
        endpoint=an_endpoint(), actor=ANA, now=database_now()
    ),
    EventKind.FINDING_OPENED: opened,
    EventKind.FINDING_CLOSED: closed,
    EventKind.FINDING_REPAIRED: repaired,
    EventKind.FINDING_IGNORED: ignored,
    EventKind.FINDING_REOPENED: lambda: decisions.reopen_finding(
        finding=ignored(), actor=ANA, now=database_now()
    ),
    EventKind.PROJECT_CREATED: lambda: create_project(name="shop", actor=ANA, now=database_now()),
    EventKind.PROJECT_RENAMED: lambda: rename_project(
        project=ProjectFactory.create(), name="shop", actor=ANA, now=database_now()
    ),
    EventKind.PROJECT_ARCHIVED: lambda: archived(archive_project),
    EventKind.PROJECT_UNARCHIVED: lambda: archived(archive_project, unarchive_project),
    EventKind.MEMBER_ADDED: lambda: changed_member(add_member),
    EventKind.MEMBER_REMOVED: lambda: changed_member(add_member, remove_member),
}


@pytest.mark.django_db
@pytest.mark.parametrize("kind", EventKind)
def test_each_kind_is_recorded_once_with_its_subject_and_actor(kind: EventKind):
    PRODUCERS[kind]()
    (event,) = Event.objects.filter(kind=kind)
    assert event.subject_type
    assert event.subject_id
    assert event.subject_name
    assert event.actor_label == "ana" or event.operation is None
    assert event == Event.objects.latest("seq") or kind == EventKind.MODEL_DELETED


# ---- what an event says ------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_event_says_what_was_before_and_after():
    endpoint = deployed()
    event = Event.objects.get(kind=EventKind.DEPLOYED)
    assert (event.before["is_active"], event.after["is_active"]) == (False, True)
    assert (event.after["run"], event.after["revision"]) == (endpoint.run_id, "a-1")
    assert event.project == endpoint.project
    assert event.lineage == endpoint.registered_model


@pytest.mark.django_db
def test_a_refusal_is_recorded_with_its_reason():
    refused()
    event, operation = Event.objects.get(), Operation.objects.get()
    assert (event.kind, event.operation) == (EventKind.OPERATION_REFUSED, operation)
    assert event.after["error"] == operation.error
    assert event.after["error_code"] == "run_not_completed"
    assert operation.was_refused


@pytest.mark.django_db
def test_an_event_survives_what_it_is_about_and_needs_no_further_query():
    lineage = RegisteredModelFactory.create()
    key = lineage.pk
    operation = an_operation(lineage)
    Operation.objects.all().delete()
    RegisteredModel.objects.update(latest_run=None, total_versions=0,
        latest_registered_at=None, vertex_model_resource_name="")  # fmt: skip
    TrainingRun.objects.all().delete()
    RegisteredModel.objects.all().delete()
    event = Event.objects.get()
    assert (event.lineage_id, event.operation_id) == (key, operation.pk)


@pytest.mark.django_db
@pytest.mark.slow
def test_findings_by_the_thousand_are_recorded_each_once():
    opened(1500)
    closed_at = database_now()
    endings.close_unseen(kinds=[FindingKind.UNMANAGED], sweep=a_sweep(), now=closed_at)
    for kind in (EventKind.FINDING_OPENED, EventKind.FINDING_CLOSED):
        assert Event.objects.filter(kind=kind).count() == 1500
    assert disagreements() == []


@pytest.mark.django_db
def test_a_sweep_that_sees_a_finding_again_records_nothing():
    opened()
    opened()
    assert Event.objects.count() == 1


# ---- one transaction ---------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", [
    EventKind.OPERATION_STARTED, EventKind.OPERATION_REFUSED, EventKind.RUN_ENDED,
    EventKind.ENDPOINT_DELETED, EventKind.FINDING_OPENED,
])  # fmt: skip
def test_a_change_whose_event_cannot_be_written_does_not_happen(
    kind: EventKind, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(outbox, "record", fail)
    monkeypatch.setattr(outbox, "record_selected", fail)
    with pytest.raises(ZeroDivisionError):
        PRODUCERS[kind]()
    assert (Operation.objects.count(), Finding.objects.count(), Event.objects.count()) == (0, 0, 0)
    assert not TrainingRun.objects.filter(status=RunStatus.CANCELLED).exists()


@pytest.mark.django_db(transaction=True)
def test_an_end_whose_event_cannot_be_written_does_not_happen(monkeypatch: pytest.MonkeyPatch):
    operation = an_operation(queue=True)
    work = store.claim(operation_id=operation.pk, clock=database_now)
    assert isinstance(work, Work)
    changed: list[str] = []

    def change() -> None:
        TrainingRun.objects.update(error="changed")
        changed.append("changed")

    def fail(events: Any) -> None:
        raise ZeroDivisionError(list(events))

    monkeypatch.setattr(outbox, "record", fail)
    done = {"status": OperationStatus.SUCCEEDED, "finished_at": database_now()}
    with pytest.raises(ZeroDivisionError):
        work.commit(change, **done)
    operation.refresh_from_db()
    assert (operation.status, changed) == (OperationStatus.RUNNING, ["changed"])
    assert not TrainingRun.objects.filter(error="changed").exists()


PROGRAM = """
import os, signal, sys
import django
django.setup()
from django.db import connection
from ml_platform.models import Operation, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor
from ml_platform.services.training.runs import cancel_run

when = sys.argv[1]

def watch(execute, text, *rest):
    is_event = text.startswith('INSERT INTO "ml_platform_event"')
    if is_event and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    found = execute(text, *rest)
    if is_event and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return found

with connection.execute_wrapper(watch):
    cancel_run(
        run=TrainingRun.objects.get(), actor=Actor(label="ana", origin="page"), now=database_now()
    )
"""


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("when", ["before", "after", "never"])
def test_a_killed_process_leaves_neither_or_both(when: str):
    run = TrainingRunFactory.create()
    died = subprocess.run(
        [sys.executable, "-c", PROGRAM, when],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "ml_platform.tests.settings"},
        timeout=60,
        check=False,
    )
    both = when == "never"
    assert died.returncode == (0 if both else -signal.SIGKILL)
    run.refresh_from_db()
    assert (run.status == RunStatus.CANCELLED) == both
    assert (Event.objects.count(), Operation.objects.count()) == (both, both)
    assert disagreements() == []


@pytest.mark.django_db
def test_events_are_numbered_in_order_and_no_number_is_used_again():
    opened()
    last = Event.objects.latest("seq").seq
    Event.objects.all().delete()
    with transaction.atomic():
        outbox.record([Event(kind=EventKind.DEPLOYED), Event(kind=EventKind.UNDEPLOYED)])
    kinds = list(Event.objects.order_by("seq").values_list("kind", flat=True))
    assert kinds == [EventKind.DEPLOYED, EventKind.UNDEPLOYED]
    assert Event.objects.earliest("seq").seq > last


@pytest.mark.django_db
def test_operations_before_the_log_have_an_event_each():
    now = database_now()
    common = {"kind": OperationKind.DEPLOY, "actor_label": "ana", "subject_name": "rank v1"}
    for status, step in (("running", "look"), ("failed", "look"), ("failed", "")):
        ended_at = None if status == "running" else now
        Operation.objects.create(
            status=status, step=step, finished_at=ended_at, error="No.", **common
        )
    migration = import_module("ml_platform.migrations.0005_event")
    migration.add_past_operations(apps, SimpleNamespace(connection=connection))
    assert sorted(Event.objects.values_list("kind", flat=True)) == [
        EventKind.OPERATION_FAILED, EventKind.OPERATION_REFUSED, EventKind.OPERATION_STARTED,
    ]  # fmt: skip
    assert disagreements() == []
