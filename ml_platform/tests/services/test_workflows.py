"""The closed table of workflows, and how an operation of the release before finds its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.utils.module_loading import import_string

from ml_platform.models import Operation
from ml_platform.models.clock import database_now
from ml_platform.models.states import OperationKind, OperationStatus
from ml_platform.services.access.rights import Right
from ml_platform.services.operations.retry_cancel import right_for
from ml_platform.services.operations.store import digest
from ml_platform.services.operations.workflow import Workflow, title_of, workflow_of
from ml_platform.services.workflows import WORKFLOWS

ALL = list(WORKFLOWS.values())
WITH_STEPS = [workflow for workflow in ALL if workflow.steps]
MIGRATION = "ml_platform.migrations.0003_operation_workflow"
SAME_PROGRAM = {"deploy-version", "redeploy-endpoint", "rollback-endpoint"}


def test_every_kind_has_a_workflow_and_every_workflow_has_words() -> None:
    assert {workflow.kind for workflow in ALL} == set(OperationKind)
    for workflow in ALL:
        assert workflow.title[0].isupper(), workflow.slug
        assert workflow.past[0].islower(), workflow.slug
        assert (workflow.title.count("{}"), workflow.past.count("{}")) == (1, 1), workflow.slug


def test_no_two_workflows_share_their_steps() -> None:
    seen: dict[Any, str] = {}
    for workflow in WITH_STEPS:
        other = seen.setdefault(workflow.steps, workflow.slug)
        assert other == workflow.slug or {other, workflow.slug} <= SAME_PROGRAM


@pytest.mark.parametrize("workflow", WITH_STEPS, ids=lambda workflow: workflow.slug)
def test_a_workflow_has_each_step_once_and_the_probes_that_it_names(workflow: Workflow) -> None:
    names = [step.name for step in workflow.steps]
    assert len(set(names)) == len(names)
    assert {step.probe for step in workflow.steps} - {""} <= set(names)
    assert not workflow.steps[0].optional


def old(kind: str, *, step: str = "", began: str = "", **fields: Any) -> Operation:
    steps = [{"step": began or step, "title": "t", "status": "done"}] if began or step else []
    fields.setdefault("request_digest", digest({}))
    return Operation(kind=kind, step=step, steps=steps, subject_name="x", **fields)


SCHEDULE = {"subject_type": "trainingschedule"}
OLD_ROWS = [
    (old("submit", step="prepare"), "submit-run"),
    (old("cancel"), "cancel-run"),
    (old("register", step="upload", began="find_artifacts"), "register-run"),
    (old("adopt", subject_type="vertexmodel"), "adopt-model"),
    (old("alias", step="merge"), "change-aliases"),
    (old("deploy", step="wait", began="verify_model"), "deploy-version"),
    (old("redeploy", subject_id="7"), "redeploy-endpoint"),
    (
        old("redeploy", subject_id="7", request_digest=digest({"endpoint": 7, "rollback": True})),
        "rollback-endpoint",
    ),
    (old("undeploy", subject_type="deployedendpoint"), "undeploy-endpoint"),
    (old("delete", subject_type="registeredmodel", step="wait"), "delete-versions"),
    (old("delete", subject_type="deployedendpoint", began="done"), "delete-endpoint"),
    (old("repair", step="close", began="look_at_versions"), "clear-stale-pointers"),
    (old("repair", step="restore", began="find_lost"), "restore-lost-versions"),
    (old("repair", subject_type="vertexmodel", step="confirm_gone"), "delete-unmanaged-model"),
    (old("repair", subject_type="deployedendpoint", step="close"), "check-service"),
    (old("cleanup", step="wait_for_purge", began="list_versions"), "delete-duplicate-versions"),
    (old("cleanup", subject_type="service", step="end_leftover"), "delete-leftover-service"),
    (old("cleanup", subject_type="artifacts", step="find_strays"), "clean-up-artifacts"),
    (old("cleanup", subject_type="orphans", step="delete_orphan"), "clean-up-orphans"),
    (old("cleanup", subject_type="registeredmodel", step="delete_orphan"), "delete-orphan"),
    (old("cleanup", subject_type="trainingrun", began="done"), "delete-run"),
    (old("schedule", subject_type="schedulerjob", step="look_at_job"), "set-up-job"),
    (old("schedule", **SCHEDULE, reason="Active"), "resume-schedule"),
    (
        old("schedule", **SCHEDULE, reason="Active", request_digest=digest({"a": 1})),
        "create-schedule",
    ),
    (old("schedule", **SCHEDULE, reason="Paused"), "pause-schedule"),
    (old("schedule", **SCHEDULE, reason="Cancelled"), "end-schedule"),
    (old("schedule", **SCHEDULE, reason="Completed"), "end-schedule"),
    (old("ignore", began="done"), "ignore-finding"),
    (old("unignore", began="done"), "reopen-finding"),
    (old("metrics", step="collect"), "collect-metrics"),
    (old("sweep", step="sweep"), "check-registry"),
]


NEWER = {
    "add-member",
    "anonymise-user",
    "archive-project",
    "create-project",
    "remove-member",
    "rename-project",
    "unarchive-project",
    "adopt-more-versions",
    "adopt-service",
    "approve-version",
    "change-tags",
    "confirm-installation",
    "confirm-plane",
    "import-rows",
    "label-installation",
    "relabel-service",
    "relabel-version",
    "put-alias-back",
    "remove-files",
    "repair-job",
    "repair-schedule",
    "restore-files",
    "take-over-alias",
    "take-over-schedule",
    "take-over-service",
    "withdraw-approval",
}
"""Workflows of later releases, whose rows always have the slug."""


def test_a_row_of_the_release_before_finds_its_workflow() -> None:
    assert {slug for _, slug in OLD_ROWS} == set(WORKFLOWS) - NEWER
    for operation, slug in OLD_ROWS:
        assert workflow_of(operation) is WORKFLOWS[slug], slug


@pytest.mark.django_db
def test_the_migration_names_the_workflow_of_live_and_of_old_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{MIGRATION}.CHUNK", 7)
    now = database_now()
    wanted = {}
    for operation, slug in OLD_ROWS:
        ended = {"status": OperationStatus.SUCCEEDED, "finished_at": now}
        for state in (ended, {"status": OperationStatus.PENDING, "finished_at": None}):
            fields = {f.attname: getattr(operation, f.attname) for f in Operation._meta.fields}
            row = Operation(**{**fields, **state, "actor_label": "a", "created_at": now})
            row.pk = Operation().pk
            row.save(force_insert=True)
            wanted[row.pk] = slug
    fill = import_string(f"{MIGRATION}.fill")
    fill(apps, SimpleNamespace(connection=connection))
    assert dict(Operation.objects.values_list("pk", "workflow")) == wanted


def test_a_title_says_what_is_done_to_what() -> None:
    assert title_of(Operation(workflow="rollback-endpoint", subject_name="svc")) == "Roll back svc"
    assert title_of(Operation(workflow="delete-unmanaged-model", subject_name="{}x")) == (
        "Delete {}x from Vertex AI"
    )
    assert title_of(Operation(workflow="of-tomorrow", subject_name="x")) == "Of tomorrow x"


@pytest.mark.parametrize(
    ("slug", "fields", "right"),
    [
        ("register-run", {}, Right.TRAIN),
        ("register-run", {"reason": "It is good."}, Right.ADMINISTER),
        ("change-aliases", {}, Right.DEPLOY),
        ("change-aliases", {"data": {"administers": True}}, Right.ADMINISTER),
        ("delete-versions", {}, Right.DELETE),
        ("pause-schedule", {}, Right.TRAIN),
        ("set-up-job", {}, Right.ADMINISTER),
        ("of-tomorrow", {}, Right.ADMINISTER),
    ],
)
def test_the_workflow_says_what_it_takes_to_retry_or_cancel(
    slug: str, fields: dict[str, Any], right: Right
) -> None:
    assert right_for(Operation(workflow=slug, **fields)) is right
