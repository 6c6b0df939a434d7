"""Answers that are not Google's, under each verb: nothing is taken for absent, and it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command
from google.auth.exceptions import DefaultCredentialsError

from ml_platform.cloud.transport import channels
from ml_platform.models import DeployedEndpoint, Finding, Operation, Project, TrainingRun
from ml_platform.models.states import OperationStatus, Registration, RunStatus, SweepStatus
from ml_platform.services.cleanup.artifacts import clean_up_artifacts
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.registration.register import register_run
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import TrainingRunFactory

from .deploy_tools import A_WHILE, deploy, services
from .training_tools import CloudClock, poll, start_run
from .world import ANA, Clock, a_lineage, a_run, artifacts, vertex_versions, write_artifact

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
JOB = "projects/demo-project/locations/europe-central2/pipelineJobs/run-1"
OF_STORAGE: tuple[dict[str, Any], ...] = (
    {"kind": "truncated"},
    {"kind": "drip", "seconds": 30},
    {"kind": "html", "status": 200},
    {"kind": "html", "status": 404},
    {"kind": "empty"},
    {"kind": "redirect"},
    {"kind": "status", "status": 407},
)
OF_GRPC: tuple[dict[str, Any], ...] = (
    {"kind": "reset", "when": "after"},
    {"kind": "html"},
    {"kind": "html", "status": 404},
    {"kind": "status", "status": 520},
)
Begun: TypeAlias = tuple[Operation, Callable[[], None]]
"""An operation, and a check that its whole effect has happened."""


@pytest.fixture
def clock(cloud: LocalCloud, settings: Any) -> Clock:
    channels.storage_client()
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "CALL_TIMEOUT": 0.6, "RETRY_TIMEOUT": 0.0}
    return Clock(cloud.clock.now())


def orders(method: str) -> list[Any]:
    kinds = OF_STORAGE if method.startswith("storage.") else OF_GRPC
    label = [" ".join(map(str, kind.values())) for kind in kinds]
    return [
        pytest.param({"method": method, **kind}, id=f"{method} {name}")
        for kind, name in zip(kinds, label, strict=True)
    ]


def a_registration(cloud: LocalCloud, clock: Clock) -> Begun:
    run = a_run(cloud)
    operation = register_run(run=run, actor=ANA, now=clock())

    def done() -> None:
        run.refresh_from_db()
        assert run.registration == Registration.REGISTERED
        assert run.registered_model is not None
        assert list(vertex_versions(run.registered_model)) == ["1"]

    return operation, done


def a_deploy(cloud: LocalCloud, clock: Clock) -> Begun:
    _, (run,) = a_lineage(cloud, clock)
    forward(cloud, clock, A_WHILE)
    operation = deploy(run, clock)

    def done() -> None:
        endpoint = DeployedEndpoint.objects.get()
        assert (endpoint.state, endpoint.run) == ("active", run)
        assert list(services()) == [endpoint.service_name]

    return operation, done


def a_deletion(cloud: LocalCloud, clock: Clock) -> Begun:
    lineage, (run, other) = a_lineage(cloud, clock, versions=2)
    forward(cloud, clock, A_WHILE)
    operation = delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())

    def done() -> None:
        run.refresh_from_db()
        assert run.registration == Registration.DELETED
        assert (len(artifacts(cloud, run)), len(artifacts(cloud, other))) == (0, 1)
        assert list(vertex_versions(lineage)) == ["2"]

    return operation, done


def a_cleanup(cloud: LocalCloud, clock: Clock) -> Begun:
    run: TrainingRun = TrainingRunFactory.create(failed=True)
    write_artifact(cloud, run, "pushed_model/1/saved_model.pb")
    operation = clean_up_artifacts(days=7, actor=ANA, clock=clock).operation
    assert operation is not None

    def done() -> None:
        clean_up_artifacts(days=7, actor=ANA, clock=clock)  # what was kept goes the next day
        assert artifacts(cloud, run) == []

    return operation, done


VERBS: dict[Callable[[LocalCloud, Clock], Begun], tuple[str, ...]] = {
    a_registration: ("ModelService.UploadModel", "ModelService.ListModels"),
    a_deploy: (
        "storage.objects.list",
        "ModelService.GetModel",
        "Services.GetService",
        "Services.CreateService",
    ),
    a_deletion: (
        "storage.objects.list",
        "storage.objects.delete",
        "ModelService.GetModel",
        "ModelService.DeleteModelVersion",
        "Services.ListServices",
    ),
    a_cleanup: ("storage.objects.list", "storage.objects.delete", "ModelService.ListModels"),
}
CASES = [
    pytest.param(verb, *case.values, id=f"{verb.__name__} {case.id}")
    for verb, methods in VERBS.items()
    for method in methods
    for case in orders(method)
]


def forward(cloud: LocalCloud, clock: Clock, seconds: float) -> None:
    clock.forward(seconds)
    cloud.clock.advance(seconds)


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "order"), CASES)
def test_a_verb_waits_or_fails_in_known_words_and_ends_right_when_it_is_repeated(
    cloud: LocalCloud, clock: Clock, verb: Callable[..., Begun], order: dict[str, Any]
) -> None:
    faults: list[Any] = []
    if verb is a_cleanup:  # it begins at once
        faults.append(cloud.faults.order(times=2, **order))
    operation, done = verb(cloud, clock)
    if not faults:
        faults.append(cloud.faults.order(times=2, **order))
    for _ in range(60):
        resume_operations(clock=clock)
        operation.refresh_from_db()
        assert not TrainingRun.objects.filter(registration=Registration.LOST).exists()
        assert operation.error_code in ("", *KNOWN)
        if operation.status == OperationStatus.SUCCEEDED:
            break
        if operation.status == OperationStatus.FAILED:
            retry_operation(operation=operation, actor=ANA)
        forward(cloud, clock, 120)
    assert operation.status == OperationStatus.SUCCEEDED
    cloud.faults.clear()
    done()


KNOWN = (
    "cloud_unavailable",
    "outcome_unknown",
    "cloud_rejected",
    "parent_not_found",
    "objects_left",
)


# ---- sweeps --------------------------------------------------------------------------------------

LISTINGS = ("storage.objects.list", "ModelService.ListModels", "Services.ListServices")


@pytest.mark.parametrize("order", [case for method in LISTINGS for case in orders(method)])
def test_a_sweep_ends_and_reports_nothing_as_missing(
    cloud: LocalCloud, clock: Clock, order: dict[str, Any]
) -> None:
    a_lineage(cloud, clock)
    forward(cloud, clock, A_WHILE)
    cloud.faults.order(times=None, **order)
    done = sweep(actor=ANA, clock=clock)
    assert done.status == SweepStatus.PARTIAL
    assert [plane["read"] for plane in done.planes.values()].count(False) == 1
    assert (TrainingRun.objects.get().registration, Finding.objects.count()) == ("registered", 0)
    cloud.faults.clear()
    assert sweep(actor=ANA, clock=clock).status == SweepStatus.COMPLETE
    assert Finding.objects.count() == 0


# ---- training ------------------------------------------------------------------------------------


ABORTED = {"method": "storage.objects.get", "kind": "error", "code": "ABORTED"}


@pytest.mark.parametrize(
    "order", [*orders("storage.objects.get"), pytest.param(ABORTED, id="ABORTED")]
)
def test_the_results_of_a_run_are_not_lost(
    cloud: LocalCloud, clock: Clock, order: dict[str, Any]
) -> None:
    time = CloudClock(cloud)
    cloud.pipelines.outcome("success", metrics={"recall_at_100": 0.42})
    run = start_run(Project.objects.create(name="test_v1"), time)
    cloud.faults.order(times=2, **order)
    for _ in range(8):
        poll(time)
        time.forward(60)
    run.refresh_from_db()
    assert (run.status, run.metrics["recall_at_100"], run.error) == ("completed", 0.42, "")


# ---- without credentials -------------------------------------------------------------------------


@pytest.fixture
def nobody(cloud: LocalCloud, settings: Any) -> Callable[[], AbstractContextManager[None]]:
    """Inside `nobody()` there are no credentials."""

    def default(*_: Any, **__: Any) -> Any:
        raise DefaultCredentialsError("None were found.")

    @contextmanager
    def take_away() -> Iterator[None]:
        before = settings.ML_PLATFORM
        settings.ML_PLATFORM = {**before, "LOCAL_CLOUD": "", "LOCAL_CLOUD_HTTP": ""}
        for cache in (channels._make_client, channels._make_storage_client):
            cache.cache_clear()
        with patch("google.auth.default", default):
            yield
        settings.ML_PLATFORM = before

    return take_away


@pytest.mark.slow
def test_without_credentials_an_operation_waits_and_goes_on_when_there_are_some(
    cloud: LocalCloud, clock: Clock, nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    operation, done = a_deploy(cloud, clock)
    with nobody():
        for _ in range(20):
            resume_operations(clock=clock)
            forward(cloud, clock, 360)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == (OperationStatus.RUNNING, "no_credentials")
    assert "GOOGLE_APPLICATION_CREDENTIALS" in operation.advice
    for _ in range(30):
        resume_operations(clock=clock)
        forward(cloud, clock, 120)
    operation.refresh_from_db()
    assert (operation.status, operation.error) == (OperationStatus.SUCCEEDED, "")
    done()


@pytest.mark.parametrize(
    "command",
    [
        ("reconcile_registry", "--yes"),
        ("audit_registry",),
        ("poll_training_runs",),
    ],
    ids=" ".join,
)
def test_without_credentials_a_command_exits_with_2_and_one_sentence(
    cloud: LocalCloud, nobody: Callable[[], AbstractContextManager[None]], command: tuple[str, ...]
) -> None:
    TrainingRunFactory.create(status=RunStatus.RUNNING, pipeline_job_name=JOB)
    with nobody(), pytest.raises(CommandError, match="no usable credentials") as error:
        call_command(*command)
    assert error.value.returncode == 2
    assert "\n" not in str(error.value)
