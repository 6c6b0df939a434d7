"""The name of a user who left is replaced in the whole history, and nobody else's."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import call_command

from ml_platform.models import Event, Finding, Operation, Sweep, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.services.findings.decisions import ignore_finding
from ml_platform.services.operations.store import Actor
from ml_platform.services.people.anonymisation import renamed
from ml_platform.services.projects.changes import add_member
from ml_platform.services.registration.approval import approve_version
from ml_platform.tests.factories import (
    FindingFactory,
    ProjectFactory,
    RegisteredModelFactory,
    UserFactory,
    version_of,
)

ANA = "ana.ö@example.com"


def run_command(*arguments: str) -> list[str]:
    said = io.StringIO()
    call_command("anonymise_user", *arguments, stdout=said)
    return said.getvalue().splitlines()


def history(user: Any) -> None:
    actor = Actor(label=user.username, origin="page", user_id=user.pk)
    now = database_now()
    run = version_of(RegisteredModelFactory.create())
    TrainingRun.objects.filter(pk=run.pk).update(created_by=user)
    approve_version(run=run, actor=actor, reason=f"As {user.username} said.", now=now)
    ignore_finding(finding=FindingFactory.create(), actor=actor, reason="Known.", now=now)
    add_member(project=ProjectFactory.create(), user=user.username, actor=actor, now=now)
    Sweep.objects.create(actor_label=user.username, started_at=now)
    Operation.objects.filter(workflow="approve-version", actor=user).update(
        error=f"Cancelled by {user.username}."
    )


@pytest.mark.django_db
def test_the_name_of_one_user_is_replaced_everywhere_but_in_what_people_wrote():
    ana, ben = (UserFactory.create(username=name) for name in (ANA, f"b{ANA}"))
    for user in (ana, ben):
        history(user)
    system = Operation.objects.create(
        kind="sweep", status="succeeded", actor_label=ANA, origin="command",
        finished_at=database_now(),
    )  # fmt: skip
    told = run_command(ANA, "--dry-run")
    assert told == [
        "Operation: 3", "Event: 3", "Sweep: 1", "TrainingRun: 1", "Finding: 1",
        "They would name former user 1. Nothing was changed.",
    ]  # fmt: skip
    assert Operation.objects.filter(actor=ana).count() == 3
    assert run_command(ANA) == [*told[:-1], "They name former user 1 now."]
    assert not Operation.objects.filter(actor=ana).exists()
    named = Event.objects.filter(actor_label="former user 1")
    assert {event.kind for event in named} == {
        "version_approved", "finding_ignored", "member_added",
    }  # fmt: skip
    approved = named.get(kind="version_approved")
    assert approved.after["by"] == "former user 1"
    assert approved.after["reason"] == f"As {ANA} said."
    added = named.select_related("operation").get(kind="member_added")
    assert added.after == {"member": "former user 1"}
    assert added.operation
    assert added.operation.steps[0]["title"] == "former user 1 is a member."
    errors = Operation.objects.filter(workflow="approve-version").order_by("created_at")
    assert [row.error for row in errors] == [
        f"Cancelled by {n}." for n in ("former user 1", f"b{ANA}")
    ]
    assert set(Finding.objects.values_list("ignored_by", flat=True)) == {"former user 1", f"b{ANA}"}
    system.refresh_from_db()
    assert system.actor_label == ANA  # a command is no user
    record = Operation.objects.get(workflow="anonymise-user")
    assert ANA not in str([record.subject_name, record.steps, record.reason])
    assert run_command(ANA) == ["No row has that name."]
    ben.delete()
    assert run_command(f"b{ANA}")[-1] == "They name former user 2 now."


def test_a_name_is_no_part_of_a_longer_one():
    def text(said: str) -> Any:
        return renamed(said, {"ana"}, "former user 1")

    assert text("Retried by ana") == "Retried by former user 1"
    assert text("Retried by ana.b@x.com, Retried by anastasia") == (
        "Retried by ana.b@x.com, Retried by anastasia"
    )
    assert text("hanna is a member.") == "hanna is a member."
    assert text("ana failed") == "ana failed"
    held = "It is held by Deploy x, which ana began on 8 Feb."
    assert text(held) == held.replace("ana", "former user 1")
    facts = {"by": "ana", "name": "ana", "list": [{"member": "ana"}], "n": 1}
    assert renamed(facts, {"ana"}, "p") == {
        "by": "p", "name": "ana", "list": [{"member": "p"}], "n": 1,
    }  # fmt: skip
