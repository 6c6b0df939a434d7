"""Writes to several rows, beside somebody who holds the first: they wait holding nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from django.db import connection, transaction
from django.db.models import Model

from ml_platform.models import (
    AwaitingRemoval,
    DeployedEndpoint,
    Finding,
    IdempotentResponse,
    MirroredModel,
    RegisteredModel,
    Sweep,
    TrainingRun,
)
from ml_platform.models.clock import database_now
from ml_platform.models.states import FindingStatus, ScheduleState
from ml_platform.services.cleanup.orphan_batches import delete_batch
from ml_platform.services.deletion.state import mark_deleting
from ml_platform.services.deployment.endpoint_state import mark_version_lost
from ml_platform.services.findings import decisions, endings
from ml_platform.services.findings import store as findings
from ml_platform.services.findings.discrepancy import Discrepancy
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.history import record
from ml_platform.services.operations.store import Actor, Subject
from ml_platform.services.registry.aliases import note_aliases
from ml_platform.services.registry.lineages import lose_versions
from ml_platform.services.removal import waiting
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.factories import (
    LONG_AGO,
    DeployedEndpointFactory,
    RegisteredModelFactory,
    TrainingScheduleFactory,
    version_of,
)

from .vertex_rows import managed

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db(transaction=True)
ANA = Actor(label="ana", origin="command")
KIND = FindingKind.UNMANAGED
Course: TypeAlias = tuple[type[Model], Callable[[], object]]


def a_sweep() -> Sweep:
    now = database_now()
    return Sweep.objects.create(actor_label="ana", started_at=now, lease_until=now)


def two_findings() -> list[Discrepancy]:
    """Standing ones. By their subjects, an index has the younger one first."""
    drifts = [
        Discrepancy(kind=KIND, subject=subject, title=subject, repair="None.", evidence={})
        for subject in ("zebra", "ant")
    ]
    for drift in drifts:
        with transaction.atomic():
            findings.note_finding(discrepancy=drift, now=LONG_AGO)
    return drifts


def operation() -> Any:
    subject = Subject(type="registry", id="", name="x")
    return record(
        workflow=WORKFLOWS["clean-up-orphans"],
        subject=subject,
        actor=ANA,
        now=database_now(),
        note="x",
    )


def seen_again() -> Course:
    drifts, now, of = two_findings(), database_now(), a_sweep()
    return Finding, lambda: findings.keep_findings(found=drifts, sweep=of, now=now)


def held() -> Course:
    drifts, of = two_findings(), a_sweep()
    subjects = [drift.subject for drift in drifts]
    return Finding, lambda: findings.hold_findings(subjects=subjects, sweep=of)


def closed() -> Course:
    two_findings()
    of, now = a_sweep(), database_now()
    return Finding, lambda: endings.close_unseen(kinds=[KIND], sweep=of, now=now)


def linked() -> Course:
    two_findings()
    lineage = RegisteredModelFactory.create()
    Finding.objects.update(registered_model=lineage)
    by = operation()
    return Finding, lambda: findings.link_findings(operation=by, kinds=[KIND], lineage=lineage)


def ended() -> Course:
    two_findings()
    by, now = operation(), database_now()
    Finding.objects.update(operation=by)
    gone = FindingStatus.GONE
    return Finding, lambda: endings.end_findings(operation=by, status=gone, now=now)


def versions() -> tuple[RegisteredModel, list[TrainingRun]]:
    lineage: RegisteredModel = RegisteredModelFactory.create()
    runs = [version_of(lineage) for _ in range(2)]
    TrainingRun.objects.update(aliases=["a1"])
    lineage.refresh_from_db()
    return lineage, runs


def marked() -> Course:
    _, runs = versions()
    return TrainingRun, lambda: mark_deleting([run.pk for run in reversed(runs)])


def lost() -> Course:
    lineage, _ = versions()
    return TrainingRun, lambda: lose_versions(lineage=lineage)


def moved() -> Course:
    _, runs = versions()
    return TrainingRun, lambda: note_aliases(run=runs[1], aliases=["a1"])


def lost_while_served() -> Course:
    lineage, runs = versions()
    for name in ("zebra", "ant"):
        DeployedEndpointFactory.create(registered_model=lineage, service_name=name, run=runs[1])
    return DeployedEndpoint, lambda: mark_version_lost(run_id=runs[1].pk)


def orphans() -> Course:
    for name in ("zebra", "ant"):
        lineage = RegisteredModelFactory.create(model_name=name)
        TrainingScheduleFactory.create(registered_model=lineage, state=ScheduleState.CANCELLED)
    last, by, now = RegisteredModel.objects.latest("pk").pk, operation(), database_now()
    return RegisteredModel, lambda: delete_batch(
        created_before=now, after=0, last=last, operation=by, now=now
    )


def folders() -> list[TrainingRun]:
    """Two that await their removal."""
    _, runs = versions()
    by, paths = operation(), {run.pk: run.gcs_artifacts_path for run in runs}
    with transaction.atomic():
        waiting.add_folders(folders=paths, operation=by, now=LONG_AGO)
    return runs


def marked_again() -> Course:
    paths, by = {run.pk: "gs://b/x/" for run in reversed(folders())}, operation()
    return AwaitingRemoval, lambda: waiting.add_folders(
        folders=paths, operation=by, now=database_now()
    )


def looked_at() -> Course:
    folders()
    rows = [*AwaitingRemoval.objects.order_by("-pk").values_list("pk", flat=True)]
    used = {str(row): "used" for row in rows}
    return AwaitingRemoval, lambda: waiting.note_looked(rows=rows, used=used, began=LONG_AGO)


COURSES = (
    seen_again, held, closed, linked, ended, marked, lost, moved, lost_while_served, orphans,
    marked_again, looked_at,
)  # fmt: skip


@pytest.mark.parametrize("course", COURSES, ids=lambda course: course.__name__)
def test_who_waits_for_the_first_row_does_not_hold_the_second(
    course: Callable[[], Course],
) -> None:
    """Somebody holds the first row, and then asks for the second: a circle, if it were held."""
    table, write = course()
    first, second = table._default_manager.order_by("pk").values_list("pk", flat=True)
    touch(table, first)  # PostgreSQL now has it behind the second on the page
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            touch(table, first)
            writing = pool.submit(in_a_transaction, write)
            wait_until_it_waits(writing.done)
            touch(table, second)
        writing.result(timeout=60)


TOUCHED: dict[type[Model], str] = {AwaitingRemoval: "reason"}
"""A column of a table that has no project."""


def touch(table: type[Model], pk: int) -> None:
    with transaction.atomic():
        row = table._default_manager.select_for_update(nowait=True).get(pk=pk)
        row.save(update_fields=[TOUCHED.get(table, "project")])


def in_a_transaction(write: Callable[[], object]) -> None:
    try:
        with transaction.atomic():
            write()
    finally:
        connection.close()


def wait_until_it_waits(is_over: Callable[[], bool]) -> None:
    """On SQLite there is one writer, and whoever came second waits from its first statement on."""
    if connection.vendor == "sqlite":
        return
    until = monotonic() + 30
    while monotonic() < until:
        assert not is_over(), "it did not wait for the row that is held"
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
    pytest.fail("it neither ended nor waited")


def test_what_is_forgotten_waits_for_nobody(cloud: LocalCloud) -> None:
    """A row of the mirror that somebody writes just now is being seen, so it is left."""
    cloud.models.seed("77", display_name="theirs")
    look()
    cloud.reset()
    cloud.storage.write("demo-artifacts", "runs/other.txt", b"")
    if connection.vendor == "sqlite":
        look()
        assert not MirroredModel.objects.exists()
        return
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        list(MirroredModel.objects.select_for_update())
        assert pool.submit(in_a_thread, look).result(timeout=60).status == "complete"
    assert MirroredModel.objects.count() == 1
    look()
    assert not MirroredModel.objects.exists()


def test_old_answers_are_forgotten(django_user_model: Any) -> None:
    user = django_user_model.objects.create_user("ann")
    for n in range(3):
        IdempotentResponse.objects.create(
            user=user, key=str(n), request_digest="", created_at=LONG_AGO + timedelta(days=n)
        )
    from ml_platform.api.http.idempotency import forget_old_answers

    assert forget_old_answers() == 3
    assert not IdempotentResponse.objects.exists()


def look() -> Sweep:
    return sweep(actor=ANA, clock=database_now)


def in_a_thread(work: Callable[[], Any]) -> Any:
    try:
        return work()
    finally:
        connection.close()


@pytest.mark.slow
def test_six_sweeps_at_once_beside_people_who_decide_on_their_findings(cloud: LocalCloud) -> None:
    """Each sweep sees all findings again, in another order than they were found in."""
    for n in range(60):
        cloud.models.seed(str(1000 - n), display_name=f"theirs-{n}")
    for name in ("a", "b"):
        lineage = managed(cloud, model_name=name)
        RegisteredModel.objects.filter(pk=lineage.pk).update(registry_state="unchecked")
    look()
    known = list(Finding.objects.all())
    assert len(known) == 60

    def decide(_: int) -> int:
        for finding in known[:20]:
            decisions.ignore_finding(finding=finding, actor=ANA, reason="x", now=database_now())
            decisions.reopen_finding(finding=finding, actor=ANA, now=database_now())
        return len(known)

    def link(_: int) -> int:
        by = operation()
        for finding in reversed(known):
            findings.link_findings(operation=by, kinds=[KIND], subject=finding.subject)
        return len(known)

    def look_twice(_: int) -> int:
        return sum(look().status == "complete" for _ in range(2))

    parts = [look_twice] * 6 + [decide, link]
    with ThreadPoolExecutor(len(parts)) as pool:
        done = [pool.submit(in_a_thread, partial(part, 0)) for part in parts]
    assert [one.result() for one in done] == [2] * 6 + [60, 60]
    assert Finding.objects.open().count() == 60
    assert RegisteredModel.objects.filter(registry_state="verified").count() == 2
