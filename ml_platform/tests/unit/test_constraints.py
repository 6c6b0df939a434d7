"""What the database itself refuses, whoever writes: the laws that constraints can hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from ml_platform.models import (
    DeployedEndpoint,
    Operation,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.states import (
    RUN_MOVES,
    EndpointState,
    OperationKind,
    OperationStatus,
    Registration,
    RunStatus,
    ScheduleState,
)
from ml_platform.services.operations.history import record
from ml_platform.services.operations.store import Actor, Subject
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.factories import (
    LONG_AGO,
    DeployedEndpointFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    version_of,
)

pytestmark = pytest.mark.django_db


def refused(write: Callable[[], object]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        write()


def test_a_lineage_is_registered_exactly_when_it_has_a_version() -> None:
    lineage = RegisteredModelFactory()
    row = RegisteredModel.objects.filter(pk=lineage.pk)
    refused(lambda: row.update(vertex_model_resource_name="projects/p/models/1"))
    refused(lambda: row.update(total_versions=1))
    version_of(lineage)
    refused(lambda: row.update(vertex_model_resource_name=""))
    refused(lambda: row.update(total_versions=0))
    refused(lambda: row.update(latest_run=None))
    assert RegisteredModel.objects.registered().get() == lineage


def test_a_run_points_at_vertex_exactly_while_it_is_a_version() -> None:
    run = version_of(RegisteredModelFactory())
    row = TrainingRun.objects.filter(pk=run.pk)
    refused(lambda: row.update(vertex_model_resource_name=""))
    refused(lambda: row.update(vertex_model_version=""))
    refused(lambda: row.update(registered_at=None))
    refused(lambda: row.update(registered_model=None))
    refused(lambda: row.update(registration=Registration.DELETED))
    row.update(registration=Registration.DELETING)
    bare = TrainingRunFactory(completed=True)
    refused(
        lambda: TrainingRun.objects.filter(pk=bare.pk).update(registration=Registration.REGISTERED)
    )


def test_two_runs_cannot_be_the_same_version_of_a_lineage_or_of_a_vertex_model() -> None:
    lineage = RegisteredModelFactory()
    first, second = version_of(lineage), version_of(lineage)
    row = TrainingRun.objects.filter(pk=second.pk)
    refused(lambda: row.update(version=first.version))
    refused(lambda: row.update(vertex_model_version=first.vertex_model_version))


def test_a_name_is_unique_in_its_project_only() -> None:
    lineage = RegisteredModelFactory(model_name="chern")
    RegisteredModelFactory(model_name="chern")
    refused(lambda: RegisteredModelFactory(project=lineage.project, model_name="chern"))


def test_two_lineages_cannot_point_at_one_vertex_model() -> None:
    version_of(RegisteredModelFactory(), vertex_id="7")
    refused(lambda: version_of(RegisteredModelFactory(), vertex_id="7"))


@pytest.mark.parametrize("key", ["lineage_key", "service_key"])
def test_one_running_operation_at_most_holds_a_lineage_or_a_service(key: str) -> None:
    def running(**fields: object) -> Operation:
        return Operation.objects.create(
            kind=OperationKind.DEPLOY,
            actor_label="ana",
            origin="api",
            **{"status": OperationStatus.RUNNING, key: "1:chern", **fields},
        )

    held = running()
    refused(running)
    running(**{key: "1:other"})
    running(**{key: ""})
    running(status=OperationStatus.PENDING)
    held.status, held.finished_at = OperationStatus.SUCCEEDED, LONG_AGO
    held.save()
    running()


def test_an_operation_has_an_end_exactly_when_it_has_ended() -> None:
    done = record(
        workflow=WORKFLOWS["change-aliases"],
        subject=Subject(type="trainingrun", id="1", name="chern"),
        actor=Actor(label="ana", origin="api"),
        now=LONG_AGO,
        note="moved",
    )
    row = Operation.objects.filter(pk=done.pk)
    refused(lambda: row.update(finished_at=None))
    refused(lambda: row.update(status=OperationStatus.RUNNING))


def test_an_endpoint_of_a_deleted_model_cannot_be_active() -> None:
    endpoint = DeployedEndpointFactory(model_deleted=True)
    row = DeployedEndpoint.objects.filter(pk=endpoint.pk)
    refused(lambda: row.update(is_active=True, run=TrainingRunFactory()))
    refused(lambda: row.update(state=EndpointState.DEPLOYING))


def test_an_active_endpoint_says_what_it_serves() -> None:
    refused(lambda: DeployedEndpointFactory(serving=True, run=None))


def test_a_live_schedule_keeps_its_lineage_and_an_ended_one_may_outlive_it() -> None:
    schedule = TrainingScheduleFactory()
    row = TrainingSchedule.objects.filter(pk=schedule.pk)
    refused(lambda: row.update(registered_model=None))
    row.update(state=ScheduleState.CANCELLED, registered_model=None)


def test_one_tick_of_a_schedule_makes_one_run() -> None:
    schedule = TrainingScheduleFactory()
    TrainingRunFactory(schedule=schedule, scheduled_for=LONG_AGO)
    TrainingRunFactory(schedule=schedule, scheduled_for=None)
    TrainingRunFactory(schedule=schedule, scheduled_for=None)
    refused(lambda: TrainingRunFactory(schedule=schedule, scheduled_for=LONG_AGO))


@pytest.mark.parametrize("factory", [TrainingScheduleFactory, DeployedEndpointFactory])
def test_no_cascade_takes_what_a_person_made(factory: Callable[..., object]) -> None:
    lineage = RegisteredModelFactory()
    factory(registered_model=lineage)
    with pytest.raises(ProtectedError):
        lineage.delete()
    with pytest.raises(ProtectedError):
        lineage.project.delete()


def test_a_run_moves_only_where_the_table_lets_it() -> None:
    for source in RunStatus.values:
        for target in RunStatus.values:
            run = TrainingRunFactory(status=source)
            moved = TrainingRun.objects.filter(pk=run.pk).move(to=target)
            assert moved == (target in RUN_MOVES[source]), (source, target)


def orphans() -> list[str]:
    found = RegisteredModel.objects.orphans(created_before=LONG_AGO + timedelta(days=7))
    return list(found.values_list("model_name", flat=True))


def test_an_orphan_was_never_registered_is_old_and_nothing_alive_needs_it() -> None:
    RegisteredModelFactory(model_name="orphan")
    RegisteredModelFactory(model_name="young", created_at=LONG_AGO + timedelta(days=8))
    version_of(RegisteredModelFactory(model_name="registered"))
    RegisteredModelFactory(model_name="had-versions", next_version=2)
    DeployedEndpointFactory(registered_model__model_name="served")
    assert orphans() == ["orphan"]


@pytest.mark.parametrize("state", ScheduleState.values)
def test_a_live_schedule_keeps_a_lineage_and_an_ended_one_does_not(state: str) -> None:
    TrainingScheduleFactory(state=state, registered_model__model_name="chern")
    kept = state in (ScheduleState.ACTIVE, ScheduleState.PAUSED)
    assert orphans() == ([] if kept else ["chern"])


@pytest.mark.parametrize("status", RunStatus.values)
@pytest.mark.parametrize("linked", [True, False], ids=["by-key", "by-name"])
def test_a_run_that_may_still_finish_keeps_its_lineage(status: str, linked: bool) -> None:
    lineage = RegisteredModelFactory(model_name="chern")
    TrainingRunFactory(
        project=lineage.project,
        model_name="chern",
        registered_model=lineage if linked else None,
        status=status,
    )
    alive = ("pending", "scheduled", "submitting", "running", "deploying")
    assert orphans() == ([] if status in alive else ["chern"])
