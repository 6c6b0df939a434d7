"""The cleanup of all orphans: law 9 for each, counts and lines that are true, two at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from ml_platform.models import (
    Finding,
    Operation,
    RegisteredModel,
    Sweep,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.clock import database_now
from ml_platform.models.states import FindingStatus, RetentionReason
from ml_platform.services.cleanup import orphan_batches
from ml_platform.services.cleanup import orphans as orphans_verb
from ml_platform.services.cleanup.orphans import OrphanCleanup, clean_up_orphans
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.store import Actor, Subject, lineage_key, open_operation
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.factories import (
    LONG_AGO,
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    version_of,
)

pytestmark = pytest.mark.django_db
ANA = Actor(label="ana", origin="command")


def clean(**options: Any) -> OrphanCleanup:
    return clean_up_orphans(**{"days": 7, "actor": ANA, "clock": database_now, **options})


def orphans(count: int) -> None:
    project = ProjectFactory.create()
    RegisteredModel.objects.bulk_create(
        RegisteredModel(project=project, model_name=f"orphan-{n}", created_at=LONG_AGO)
        for n in range(count)
    )


def operation_on(name: str) -> None:
    lineage = RegisteredModel.objects.get(model_name=name)
    key = lineage_key(project_id=lineage.project_id, model_name=name)
    subject = Subject(type="trainingrun", id="1", name=name, lineage_key=key)
    open_operation(
        workflow=WORKFLOWS["register-run"], subject=subject, actor=ANA, now=database_now()
    )


def one_of_each() -> None:
    """Two orphans, one of everything that keeps a lineage, and what is no candidate at all."""
    RegisteredModelFactory(model_name="orphan-1")
    RegisteredModelFactory(model_name="orphan-2")
    TrainingRunFactory(
        project=RegisteredModelFactory(model_name="by-name").project, model_name="by-name"
    )
    linked = RegisteredModelFactory(model_name="by-key")
    TrainingRunFactory(project=linked.project, model_name="x", registered_model=linked)
    TrainingScheduleFactory(registered_model__model_name="paused", state="paused")
    DeployedEndpointFactory(registered_model__model_name="served")
    RegisteredModelFactory(model_name="held")
    operation_on("held")
    RegisteredModelFactory(model_name="young", created_at=database_now() - timedelta(days=6))
    RegisteredModelFactory(model_name="had-versions", next_version=2)
    version_of(RegisteredModelFactory(model_name="registered"))


KEPT = {"run": 2, "schedule": 1, "endpoint": 1, "operation": 1}
SUMMARY = (
    "{} 2 orphaned RegisteredModel(s), skipped 2 with active training runs, "
    "kept 1 that an active or paused schedule needs, kept 1 that an endpoint needs, "
    "kept 1 that an operation needs"
)


def left() -> list[str]:
    return sorted(RegisteredModel.objects.values_list("model_name", flat=True))


def test_orphans_go_and_each_that_stays_is_told_with_its_need() -> None:
    one_of_each()
    lines: list[str] = []
    cleanup = clean(write_line=lines.append)
    assert left() == [
        "by-key", "by-name", "had-versions", "held", "paused", "registered", "served", "young"
    ]  # fmt: skip
    assert (cleanup.found, cleanup.deleted, cleanup.kept) == (7, 2, KEPT)
    assert cleanup.heading == "Found 7 orphaned RegisteredModel(s) older than 7 days."
    assert cleanup.summary == SUMMARY.format("Deleted")
    told = {line.split()[1]: line for line in lines}
    assert len(lines) == len(told) == 7
    assert told["orphan-1"].startswith("Deleted orphan-1 (id ")
    assert told["orphan-1"].endswith(", created 2026-01-10).")
    assert told["by-name"].endswith(": a run that may still finish needs it.")
    assert told["held"].endswith(": an operation needs it.")
    assert cleanup.operation is not None
    assert (cleanup.operation.status, cleanup.operation.kind) == ("succeeded", "cleanup")
    assert cleanup.operation.steps[-1]["note"] == cleanup.summary


def test_with_nothing_to_do_it_says_so_in_the_words_of_the_incident() -> None:
    cleanup = clean()
    assert cleanup.heading == "Found 0 orphaned RegisteredModel(s) older than 7 days."
    assert cleanup.summary == (
        "Deleted 0 orphaned RegisteredModel(s), skipped 0 with active training runs"
    )


def test_a_dry_run_says_the_same_and_changes_nothing() -> None:
    one_of_each()
    before, operations = left(), Operation.objects.count()
    lines: list[str] = []
    cleanup = clean(dry_run=True, write_line=lines.append)
    assert (cleanup.found, cleanup.deleted, cleanup.kept) == (7, 2, KEPT)
    assert cleanup.summary == SUMMARY.format("Would delete")
    assert sum(line.startswith("Would delete orphan-") for line in lines) == 2
    assert (left(), Operation.objects.count()) == (before, operations)


def test_what_ended_with_an_orphan_stays_and_its_finding_is_repaired() -> None:
    orphan = RegisteredModelFactory()
    schedule = TrainingScheduleFactory(registered_model=orphan, state="cancelled")
    run = TrainingRunFactory(failed=True, project=orphan.project, registered_model=orphan)
    sweep = Sweep.objects.create(actor_label="ana", finished_at=LONG_AGO)
    finding = Finding.objects.create(
        kind=FindingKind.ORPHAN,
        subject=f"registered model {orphan.pk}",
        registered_model=orphan,
        first_sweep=sweep,
        first_seen_at=LONG_AGO,
        last_seen_at=LONG_AGO,
    )
    lines: list[str] = []
    cleanup = clean(write_line=lines.append)
    assert not RegisteredModel.objects.exists()
    assert lines[0].endswith(f"; detached run {run.pk}, schedule {schedule.pk}.")
    assert TrainingRun.objects.get().registered_model is None
    assert TrainingSchedule.objects.get().registered_model is None
    finding.refresh_from_db()
    assert (finding.status, finding.operation) == (FindingStatus.REPAIRED, cleanup.operation)
    assert finding.registered_model is None


def test_batches_by_key_leave_nothing_out_where_rows_share_their_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orphan_batches, "BATCH", 3)
    orphans(10)
    lines: list[str] = []
    cleanup = clean(write_line=lines.append)
    assert (cleanup.found, cleanup.deleted, len(lines)) == (10, 10, 10)
    assert left() == []


def test_statements_do_not_grow_with_the_rows_of_a_batch() -> None:
    counts = []
    for rows in (50, 500):
        orphans(rows)
        with CaptureQueriesContext(connection) as statements:
            assert clean().deleted == rows
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_a_worker_finishes_what_a_dead_process_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphan_batches, "BATCH", 2)
    orphans(5)
    heard: list[str] = []

    def die(line: str) -> None:
        heard.append(line)
        if len(heard) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean(write_line=die)
    operation = Operation.objects.get()
    assert (operation.status, operation.data["deleted"], len(left())) == ("running", 4, 1)
    resume_operations(clock=lambda: database_now() + timedelta(minutes=2))
    operation.refresh_from_db()
    assert (operation.status, operation.data["deleted"], left()) == ("succeeded", 5, [])


def test_a_batch_that_is_rolled_back_is_neither_told_nor_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    orphans(2)
    lines: list[str] = []

    def lose_the_database(**what: Any) -> orphan_batches.Judged:
        assert orphan_batches.delete_batch(**what).deleted == 2
        raise OperationalError("the connection is gone")

    monkeypatch.setattr(orphans_verb, "delete_batch", lose_the_database)
    clean(write_line=lines.append)
    operation = Operation.objects.get()
    assert (operation.status, operation.data.get("deleted")) == ("running", None)
    assert (lines, len(left())) == ([], 2)


def test_the_same_key_does_the_work_once_and_answers_the_same() -> None:
    orphans(1)
    first = clean(idempotency_key="tick 1")
    orphans(1)
    second = clean(idempotency_key="tick 1")
    assert first == second
    assert second.deleted == 1
    assert len(left()) == 1


@pytest.mark.django_db(transaction=True)
def test_what_another_transaction_holds_is_waited_for_and_judged_after_it() -> None:
    orphans(3)
    held = RegisteredModel.objects.order_by("pk")[0]
    results: list[OrphanCleanup] = []
    job = threading.Thread(target=lambda: results.append(on_its_own_connection(clean)))
    with transaction.atomic():
        RegisteredModel.objects.select_for_update().get(pk=held.pk)
        job.start()
        job.join(0.5)
        assert results == []
        TrainingScheduleFactory(registered_model=held)
    job.join(60)
    assert (results[0].found, results[0].deleted) == (3, 2)
    assert results[0].kept == {"schedule": 1}
    assert left() == [held.model_name]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_two_at_once_delete_each_orphan_once_and_both_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orphan_batches, "BATCH", 20)
    orphans(400)
    RegisteredModelFactory(model_name="keeps-a-run")
    run = RegisteredModel.objects.get(model_name="keeps-a-run")
    TrainingRunFactory(project=run.project, model_name="keeps-a-run")
    results: list[OrphanCleanup] = []
    lines: list[str] = []
    barrier = threading.Barrier(2)

    def job() -> None:
        barrier.wait()
        results.append(on_its_own_connection(lambda: clean(write_line=lines.append)))

    jobs = [threading.Thread(target=job) for _ in range(2)]
    for thread in jobs:
        thread.start()
    for thread in jobs:
        thread.join(60)
    assert [r.operation and r.operation.status for r in results] == ["succeeded", "succeeded"]
    assert sum(result.deleted for result in results) == 400
    deleted = [line for line in lines if line.startswith("Deleted")]
    assert len(deleted) == len(set(deleted)) == 400
    assert left() == ["keeps-a-run"]
    assert all(result.kept.get(RetentionReason.RUN, 0) <= 1 for result in results)


def on_its_own_connection(run: Callable[[], OrphanCleanup]) -> OrphanCleanup:
    try:
        return run()
    finally:
        connections.close_all()
