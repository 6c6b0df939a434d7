"""A person's approval: who said what and why, and that every deploy asks the one definition."""

from __future__ import annotations

from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connections, transaction

from ml_platform.errors import Conflict, Invalid
from ml_platform.models import Event, Finding, Operation, Sweep, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.models.registry.judgement import allows_deploy
from ml_platform.models.states import PERSON_NAME, EventKind, Registration
from ml_platform.services.deployment.deployable import NotDeployable, require_deployable
from ml_platform.services.findings.decisions import ignore_finding
from ml_platform.services.operations.store import Actor
from ml_platform.services.registration.approval import approve_version, withdraw_approval
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import RegisteredModelFactory, TrainingRunFactory, version_of

from .deploy_tools import deploy, deployed, finish
from .world import ANA, Clock, a_lineage, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock()


@pytest.fixture
def run() -> TrainingRun:
    """A version that no evaluator judged, as an adopted one."""
    made: TrainingRun = version_of(RegisteredModelFactory.create())
    TrainingRun.objects.filter(pk=made.pk).update(is_blessed=None)
    made.refresh_from_db()
    return made


def approve(run: TrainingRun, reason: str = "Compared by hand.") -> Operation:
    return approve_version(run=run, actor=ANA, reason=reason, now=database_now())


def withdraw(run: TrainingRun, reason: str = "It is biased.") -> Operation:
    return withdraw_approval(run=run, actor=ANA, reason=reason, now=database_now())


@pytest.mark.parametrize(
    ("is_blessed", "approval", "allowed"),
    [
        (True, "", True),
        (False, "", False),
        (None, "", False),
        (True, "approved", True),
        (False, "approved", True),
        (None, "approved", True),
        (True, "withdrawn", False),
        (False, "withdrawn", False),
        (None, "withdrawn", False),
    ],
)
def test_a_persons_word_counts_before_the_evaluators(
    is_blessed: bool | None, approval: str, allowed: bool
) -> None:
    assert allows_deploy(is_blessed=is_blessed, approval=approval) is allowed


def test_an_approval_names_who_why_and_when_and_leaves_the_evaluators_word(
    run: TrainingRun,
) -> None:
    operation = approve(run, " Compared by hand. ")
    run.refresh_from_db()
    assert (run.is_blessed, run.approval, run.approval_by) == (None, "approved", "ana")
    assert (run.approval_reason, bool(run.approval_at)) == ("Compared by hand.", True)
    require_deployable(run)
    assert (operation.status, operation.reason) == ("succeeded", "Compared by hand.")
    event = run.registered_model.events.get()  # type: ignore[union-attr] # a version has a model
    assert (event.kind, event.operation) == (EventKind.VERSION_APPROVED, operation)
    assert event.before == {"approval": "", "by": "", "reason": ""}
    assert event.after == {"approval": "approved", "by": "ana", "reason": "Compared by hand."}


def test_a_repetition_answers_with_the_first_and_changes_nothing(run: TrainingRun) -> None:
    first = approve(run)
    assert approve(run, "Again.") == first
    taken_back = withdraw(run)
    assert withdraw(run, "Again.") == taken_back
    run.refresh_from_db()
    assert (run.approval, run.approval_reason) == ("withdrawn", "It is biased.")
    again = approve(run, "Measured anew.")
    assert again != first
    assert approve(run) == again
    assert Operation.objects.count() == Event.objects.count() == 3


def test_a_withdrawal_stops_the_deploy_of_a_blessed_version_and_says_who_and_why() -> None:
    run = version_of(RegisteredModelFactory.create())
    require_deployable(run)
    withdraw(run)
    run.refresh_from_db()
    with pytest.raises(NotDeployable, match=r"withdrawn by ana: It is biased\.") as refused:
        require_deployable(run)
    assert refused.value.code == "approval_withdrawn"


@pytest.mark.parametrize(
    ("judged", "code", "words"),
    [
        (None, "not_judged", "not judged by an evaluator, and nobody approved it"),
        (False, "not_blessed", "its evaluator refused it, and nobody approved it"),
    ],
)
def test_the_refusal_says_which_word_is_missing_and_what_can_work(
    run: TrainingRun, judged: bool | None, code: str, words: str
) -> None:
    run.is_blessed = judged
    with pytest.raises(NotDeployable, match=words) as refused:
        require_deployable(run)
    assert refused.value.code == code
    assert "approve it" in refused.value.advice
    assert "train" not in refused.value.advice.lower()


@pytest.mark.parametrize("verb", [approve, withdraw])
def test_a_reason_that_says_nothing_decides_nothing(run: TrainingRun, verb: Any) -> None:
    with pytest.raises(Invalid, match="needs a reason"):
        verb(run, " \n")
    assert not Operation.objects.exists()


def test_what_is_no_version_or_was_never_passed_is_refused(run: TrainingRun) -> None:
    with pytest.raises(Conflict) as refused:
        withdraw(run)
    assert refused.value.code == "not_approved"
    with pytest.raises(Conflict) as refused:
        approve(TrainingRunFactory.create(completed=True, registration=Registration.DELETED))
    assert refused.value.code == "not_registered"
    assert not Operation.objects.exists()


@pytest.mark.parametrize("lacking", ["approval_by", "approval_reason", "approval_at"])
def test_the_database_holds_no_approval_without_person_reason_and_time(
    run: TrainingRun, lacking: str
) -> None:
    said = {"approval_by": "ana", "approval_reason": "So.", "approval_at": database_now()}
    rows = TrainingRun.objects.filter(pk=run.pk)
    for fields in (
        {"approval": "approved", **said, lacking: None if "at" in lacking else ""},
        said,
    ):
        with pytest.raises(IntegrityError, match="approval"), transaction.atomic():
            rows.update(**fields)
    assert rows.update(approval="withdrawn", **said) == 1


def test_a_withdrawal_after_the_request_stops_the_worker_before_it_deploys(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    operation = deploy(run, clock)
    withdraw_approval(run=run, actor=ANA, reason="It is biased.", now=clock())
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "approval_withdrawn")
    assert cloud.effects.count("Services.*") == 0


def test_an_approved_version_that_its_evaluator_refused_is_deployed(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    TrainingRun.objects.filter(pk=run.pk).update(is_blessed=False, status="not_blessed")
    approve(run)
    run.refresh_from_db()
    assert finish(deploy(run, clock), clock).status == "succeeded"


def test_a_withdrawal_leaves_what_serves(cloud: LocalCloud, clock: Clock) -> None:
    endpoint, (run,) = deployed(cloud, clock)
    withdraw(run)
    endpoint.refresh_from_db()
    assert (endpoint.is_active, endpoint.run_id) == (True, run.pk)


@pytest.mark.django_db(transaction=True)
def test_two_who_approve_at_once_are_answered_with_one_approval() -> None:
    run = version_of(RegisteredModelFactory.create())
    barrier, answers = Barrier(2), []

    def ask() -> None:
        try:
            barrier.wait()
            answers.append(approve(run).pk)
        finally:
            connections.close_all()

    threads = [Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 2
    assert len(set(answers)) == Event.objects.count() == 1


@pytest.mark.on_postgresql  # SQLite stores longer texts than a column is for
@pytest.mark.parametrize("length", [185, 300])
def test_a_name_as_long_as_an_e_mail_address_is_kept_whole(
    cloud: LocalCloud, run: TrainingRun, length: int
):
    actor, now = Actor(label="a" * length, origin="page"), database_now()
    kept = "a" * length if length <= PERSON_NAME else f"{'a' * (PERSON_NAME - 1)}…"
    finding = Finding.objects.create(
        kind="orphan", subject="x", title="x", repair="x", first_seen_at=now, last_seen_at=now
    )
    ignore_finding(finding=finding, reason="So.", actor=actor, now=now)
    approve_version(run=run, actor=actor, reason="So.", now=now)
    sweep(actor=actor, clock=database_now)
    run.refresh_from_db()
    finding.refresh_from_db()
    names = {run.approval_by, finding.ignored_by, Sweep.objects.get().actor_label}
    assert names | set(Operation.objects.values_list("actor_label", flat=True)) == {kept}
