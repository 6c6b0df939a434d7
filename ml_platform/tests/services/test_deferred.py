"""Nothing before success (law 2): whatever becomes of runs, only a registered version counts."""

from __future__ import annotations

import ast
import inspect
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ml_platform
from ml_platform.cloud import vertex
from ml_platform.errors import PlatformError
from ml_platform.models import Project, RegisteredModel, TrainingRun, TrainingSchedule
from ml_platform.models.states import RunStatus
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.registration.register import NotRegistrable, register_run
from ml_platform.services.scheduling import schedules as scheduling
from ml_platform.services.scheduling.schedules import (
    Firing,
    cancel_schedule,
    create_schedule,
    create_schedule_from_run,
    fire_schedule,
    pause_schedule,
    resume_schedule,
    trigger_schedule,
)
from ml_platform.services.training import runs as training
from ml_platform.services.training.runs import cancel_run, create_run, delete_run, rerun, submit_run

from .training_tools import ANA, STAGES, TEMPLATE_URI, CloudClock, poll, settle, start_run

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

ROOT = Path(ml_platform.__file__).parent
ENDINGS = [*(f"fail:{stage}" for stage in STAGES), "not_blessed", "hang", "hang:push", "cancel"]


@pytest.fixture
def clock(cloud: LocalCloud, settings: Any) -> CloudClock:
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "http://127.0.0.1:9/",
        "WEBHOOK_SERVICE_ACCOUNTS": ("ringer@example.com",),
    }
    return CloudClock(cloud)


@pytest.fixture
def project() -> Project:
    return Project.objects.create(name="test_v1")


def registered() -> tuple[int, int]:
    """How many models are registered: as we count, and in Vertex AI."""
    in_vertex = sum(len(page) for page in vertex.list_models())
    return RegisteredModel.objects.registered().count(), in_vertex


def end(cloud: LocalCloud, clock: CloudClock, run: TrainingRun, ending: str) -> None:
    """Let this run's pipeline, which was told how to end, do so, and let us notice."""
    clock.forward(3)
    if ending == "cancel":
        cancel_run(run=run, actor=ANA, now=clock())
        settle(clock)
    clock.forward(100)
    poll(clock)
    settle(clock)
    run.refresh_from_db()


def see_through(cloud: LocalCloud, clock: CloudClock, firing: Firing, ending: str) -> TrainingRun:
    """Submit the run of a ring and let it end."""
    assert firing.run is not None
    resume_operations(clock=clock)
    end(cloud, clock, firing.run, ending)
    assert firing.run.status != RunStatus.COMPLETED
    return firing.run


@pytest.mark.any_database
@pytest.mark.django_db
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_manual_run_without_success_leaves_no_lineage_and_the_counts_as_they_were(
    cloud: LocalCloud, clock: CloudClock, project: Project, ending: str
) -> None:
    start_run(project, clock, model_name="good")
    clock.forward(100)
    poll(clock)
    settle(clock)
    assert registered() == (1, 1)
    if ending != "cancel":
        cloud.pipelines.outcome(ending)
    run = start_run(project, clock, model_name="bad")
    end(cloud, clock, run, ending)
    assert run.status != RunStatus.COMPLETED
    with pytest.raises(NotRegistrable):
        register_run(run=run, actor=ANA, now=clock())
    again = rerun(run=run, actor=ANA, now=clock())
    cancel_run(run=again, actor=ANA, now=clock())
    again.refresh_from_db()
    delete_run(run=again, actor=ANA, now=clock())
    assert registered() == (1, 1)
    assert list(RegisteredModel.objects.values_list("model_name", flat=True)) == ["good"]
    assert cloud.effects.count("ModelService.UploadModel") == 1


@pytest.mark.any_database
@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_schedule_has_a_lineage_that_counts_nowhere_until_a_run_succeeds(
    cloud: LocalCloud, clock: CloudClock, project: Project, ending: str
) -> None:
    if ending != "cancel":
        cloud.pipelines.outcome(ending)
    tick = clock().replace(second=0) + timedelta(hours=1)
    create_schedule(
        project=project,
        name="nightly",
        model_name="bad",
        model_type="ranking",
        template_uri=TEMPLATE_URI,
        parameters={},
        frequency="daily",
        first=tick,
        actor=ANA,
        now=clock(),
    )
    settle(clock)
    schedule = TrainingSchedule.objects.get()
    pause_schedule(schedule=schedule, actor=ANA, now=clock())
    resume_schedule(schedule=schedule, actor=ANA, now=clock())
    triggered = trigger_schedule(schedule=schedule, actor=ANA, now=clock())
    first = see_through(cloud, clock, triggered, ending)
    clock.forward((tick - clock()).total_seconds())
    fired = fire_schedule(schedule=schedule, scheduled_for=tick, actor=ANA, now=clock())
    see_through(cloud, clock, fired, ending)
    assert TrainingRun.objects.count() == 2
    create_schedule_from_run(
        run=first, name="copy", frequency="once", first=clock() + timedelta(days=9), actor=ANA,
        now=clock(),
    )  # fmt: skip
    cancel_schedule(schedule=schedule, actor=ANA, now=clock())
    settle(clock)
    assert registered() == (0, 0)
    assert RegisteredModel.objects.count() == 1
    assert cloud.effects.count("ModelService.UploadModel") == 0


@pytest.mark.django_db
def test_a_run_that_was_never_written_down_makes_no_lineage_either(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    for uri in (TEMPLATE_URI, "gs://demo-artifacts/none"):
        try:
            run = create_run(
                project=project, model_name="x", model_type="other", template_uri=uri,
                parameters={}, actor=ANA, now=clock(),
            )  # fmt: skip
        except PlatformError:
            continue
        cloud.faults.order(
            method="PipelineService.CreatePipelineJob", kind="error", code="INVALID_ARGUMENT"
        )
        submit_run(run=run, actor=ANA, now=clock())
        settle(clock)
    assert TrainingRun.objects.get().status == RunStatus.FAILED
    assert RegisteredModel.objects.count() == 0


# ---- no other door ----------------------------------------------------------------------------

WALKED = {
    training: {"create_run", "submit_run", "cancel_run", "rerun", "delete_run"},
    scheduling: {
        "create_schedule",
        "create_schedule_from_run",
        "pause_schedule",
        "resume_schedule",
        "cancel_schedule",
        "trigger_schedule",
        "fire_schedule",
    },
}
"""The verbs that the tests above go through."""
MAKERS = {
    "services/registration/register.py",
    "services/scheduling/schedules.py",
    "services/scheduling/takeover.py",
}
"""Who may ask for a lineage besides those that adopt what is in Vertex AI already."""
ADOPTERS = {"services/registration/adoption.py", "services/repairs/reconciliation.py"}


def test_the_tests_above_walk_every_verb_of_training_and_scheduling() -> None:
    for module, walked in WALKED.items():
        functions = inspect.getmembers(module, inspect.isfunction)
        verbs = {
            name
            for name, function in functions
            if function.__module__ == module.__name__
            and "actor" in inspect.signature(function).parameters
            and not name.startswith("_")
        }
        assert verbs - {"add_run"} == walked


@cache
def product_calls() -> list[tuple[str, str]]:
    """(file, dotted name called) over the whole product, tests, demo and local cloud aside."""
    aside = {"tests", "demo", "localcloud", "migrations"}
    calls = []
    for path in ROOT.rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        if name.split("/")[0] in aside:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                calls.append((name, ast.unparse(node.func)))
    return calls


@pytest.mark.slow
def test_lineages_are_made_in_one_place_which_only_registration_schedules_and_adoption_call() -> (
    None
):
    calls = product_calls()
    creating = {"create", "get_or_create", "update_or_create", "bulk_create"}
    makers = {
        name
        for name, called in calls
        if called == "RegisteredModel"
        or (called.startswith("RegisteredModel.") and called.split(".")[-1] in creating)
        or (called.split(".")[-1] in creating and "registered_models" in called)
    }
    assert makers == {"services/registry/lineages.py"}
    callers = {name for name, called in calls if called.split(".")[-1] == "claim_lineage"}
    assert callers >= MAKERS
    assert callers <= MAKERS | ADOPTERS


def test_models_are_uploaded_by_registration_alone() -> None:
    uploaders = {name for name, called in product_calls() if called.endswith("upload_model")}
    assert uploaders - {"cloud/vertex.py"} == {"services/registration/upload.py"}
