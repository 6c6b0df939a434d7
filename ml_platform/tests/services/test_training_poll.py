"""The poll: runs follow their pipelines, with as many calls as there are pages, and no guessing."""

from __future__ import annotations

from io import StringIO
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from ml_platform.cloud import pipelines, storage
from ml_platform.cloud.transport import channels
from ml_platform.models import Operation, Project, RegisteredModel, TrainingRun
from ml_platform.models.states import OperationKind, RunStatus
from ml_platform.services.ownership.labels import labels_for
from ml_platform.services.training.polling import (
    ENDED_A_POLL,
    FORGOTTEN,
    NO_RESULTS,
    WATCHABLE,
    WATCHED,
    PollResult,
    unfinished_filter,
)
from ml_platform.services.training.submission import job_name
from ml_platform.tests.factories import TrainingRunFactory

from .training_tools import BUCKET, SPEC, CloudClock, poll, settle, start_run

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
LIST, GET = "PipelineService.ListPipelineJobs", "PipelineService.GetPipelineJob"


@pytest.fixture
def clock(cloud: LocalCloud) -> CloudClock:
    made = CloudClock(cloud)
    cloud.pipelines.stage_seconds = 10
    return made


@pytest.fixture
def project() -> Project:
    return Project.objects.create(name="test_v1")


def test_a_run_is_followed_to_its_success_and_registered(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    cloud.pipelines.outcome("success", metrics={"recall_at_100": 0.42})
    run = start_run(project, clock)
    seen = []
    for _ in range(6):
        result = poll(clock)
        run.refresh_from_db()
        seen.append((run.status, run.stage, run.progress))
        clock.forward(10)
    assert seen == [
        ("running", "", 0),
        ("running", "ingest", 0),
        ("running", "train", 25),
        ("running", "evaluate", 50),
        ("running", "push", 75),
        ("completed", "", 100),
    ]
    assert result == PollResult(live=1, ended=result.ended, listed=True)
    assert run.is_blessed is True
    assert run.metrics["recall_at_100"] == 0.42
    assert run.finished_at is not None
    assert RegisteredModel.objects.count() == 0, "nothing before Vertex AI confirmed the version"
    settle(clock)
    assert RegisteredModel.objects.registered().get().latest_run == run


@pytest.mark.any_database
@pytest.mark.parametrize("stage", ["ingest", "train", "evaluate", "push"])
def test_a_run_that_fails_keeps_its_stage_and_error(
    cloud: LocalCloud, clock: CloudClock, project: Project, stage: str
) -> None:
    cloud.pipelines.outcome(f"fail:{stage}")
    run = start_run(project, clock)
    clock.forward(100)
    assert poll(clock).ended == {"failed": 1}
    run.refresh_from_db()
    assert (run.status, run.stage, run.is_blessed) == ("failed", stage, None)
    assert f"The failed tasks are: [{stage}]" in run.error
    assert run.progress < 100


def test_a_run_that_is_not_blessed_is_not_registered(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    cloud.pipelines.outcome("not_blessed")
    run = start_run(project, clock)
    clock.forward(100)
    assert poll(clock).ended == {"not_blessed": 1}
    run.refresh_from_db()
    assert (run.status, run.is_blessed) == ("not_blessed", False)
    assert run.error == "The evaluator did not bless the model."
    assert "loss" in run.metrics
    assert not Operation.objects.filter(kind=OperationKind.REGISTER).exists()


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("change", "status", "remark"),
    [
        ({"evaluator/BLESSED": None}, "not_blessed", "The evaluator left no verdict."),
        ({"evaluator/NOT_BLESSED": b""}, "not_blessed", "The evaluator left both verdicts"),
        ({"metrics.json": None}, "completed", ""),
        ({"metrics.json": b"[NaN"}, "completed", "Its metrics cannot be read"),
        ({"metrics.json": b"\xff"}, "completed", "Its metrics cannot be read"),
        ({"metrics.json": b" " * 300_000}, "completed", "Its metrics cannot be read"),
    ],
    ids=str,
)
def test_only_a_clear_blessing_counts_and_metrics_decide_nothing(
    cloud: LocalCloud,
    clock: CloudClock,
    project: Project,
    change: dict[str, bytes | None],
    status: str,
    remark: str,
) -> None:
    run = start_run(project, clock)
    clock.forward(100)
    for name, data in change.items():
        key = f"runs/{run.uid.hex}/{name}"
        if data is None:
            ((found,),) = storage.list_objects(BUCKET, key)
            storage.delete_objects(BUCKET, [(key, found.generation)])
        else:
            cloud.storage.write(BUCKET, key, data)
    poll(clock)
    run.refresh_from_db()
    assert run.status == status
    told = f"{run.error}{run.remark}"
    assert told.startswith(remark)
    assert bool(told) is bool(remark)


def many_live_runs(project: Project, clock: CloudClock, count: int) -> list[TrainingRun]:
    runs = TrainingRunFactory.build_batch(
        count, project=project, status=RunStatus.RUNNING, submitted_at=clock(), created_at=clock()
    )
    for run in runs:
        run.pipeline_job_name = str(job_name(run))
        pipelines.create_pipeline_job(
            job_id=job_name(run).job_id,
            display_name=run.model_name,
            spec=SPEC,
            parameters={},
            output_directory=run.gcs_artifacts_path.rstrip("/"),
            labels=labels_for(run=run.uid),
        )
    made: list[TrainingRun] = TrainingRun.objects.bulk_create(runs)
    return made


@pytest.mark.any_database
@pytest.mark.slow
def test_a_thousand_live_runs_cost_the_pages_that_list_them(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    many_live_runs(project, clock, 1000)
    clock.forward(15)
    before = cloud.effects.count("*")
    result = poll(clock)
    assert (result.live, result.ended, result.unknown) == (1000, {}, [])
    assert cloud.effects.count(LIST) == 10
    assert cloud.effects.count("*") - before == 10


@pytest.mark.parametrize(("count", "polls"), [(WATCHED, 1), (WATCHED + 1, 2), (3 * WATCHED, 3)])
def test_live_runs_are_watched_in_turn_a_share_at_each_poll(
    cloud: LocalCloud, clock: CloudClock, project: Project, count: int, polls: int
) -> None:
    many_live_runs(project, clock, count)
    clock.forward(15)
    for done in range(1, polls + 1):
        poll(clock)
        clock.forward(0.1)
        assert (cloud.effects.count(LIST), cloud.effects.count(GET)) == (done, done * WATCHED)
        seen = TrainingRun.objects.filter(stage="ingest").count()
        assert seen == min(count, done * WATCHED)


@pytest.mark.any_database
@pytest.mark.slow
def test_among_too_many_live_runs_none_is_watched(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    many_live_runs(project, clock, WATCHABLE + 1)
    clock.forward(15)
    poll(clock)
    assert cloud.effects.count(GET) == 0


@pytest.mark.slow
def test_jobs_that_ended_are_asked_about_once_and_a_share_at_a_time(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    cloud.pipelines.outcome("fail:ingest")
    many_live_runs(project, clock, ENDED_A_POLL + 7)
    clock.forward(100)
    first, second, third = poll(clock), poll(clock), poll(clock)
    assert (first.ended, first.left) == ({"failed": ENDED_A_POLL}, 7)
    assert (second.ended, second.left) == ({"failed": 7}, 0)
    assert third == PollResult()
    assert (cloud.effects.count(LIST), cloud.effects.count(GET)) == (2, ENDED_A_POLL + 7)


@pytest.mark.any_database
@pytest.mark.slow
def test_ended_runs_that_cannot_be_read_keep_no_other_from_its_turn(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    many_live_runs(project, clock, ENDED_A_POLL)
    clock.forward(400)
    cloud.faults.order(method="storage.objects.list", kind="error", code="NOT_FOUND", times=None)
    poll(clock)
    cloud.faults.clear()
    cloud.pipelines.outcome("fail:ingest")
    late = start_run(project, clock, model_name="late")
    clock.forward(100)
    poll(clock)
    late.refresh_from_db()
    assert late.status == RunStatus.FAILED


def test_jobs_of_others_and_ended_ones_are_not_listed(
    cloud: LocalCloud, clock: CloudClock, project: Project, settings: Any
) -> None:
    cloud.pipelines.outcome("fail:ingest", display_name="old-*")
    for number in range(3):
        start_run(project, clock, model_name=f"old-{number}")
    ours = settings.ML_PLATFORM
    settings.ML_PLATFORM = {**ours, "INSTALLATION": "theirs"}
    start_run(project, clock, model_name="theirs")
    settings.ML_PLATFORM = ours
    clock.forward(25)
    poll(clock)
    assert cloud.effects.count(GET) == 4, "those that the listing did not show"
    assert unfinished_filter().startswith('labels.mlp_owner="tests" AND state!=')


@pytest.mark.django_db(transaction=True)
def test_a_poll_that_comes_too_late_does_not_turn_back_what_followed(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    run = start_run(project, clock)
    clock.forward(100)
    held = cloud.faults.order(method=GET, kind="hang")
    results: list[PollResult] = []

    def late() -> None:
        try:
            results.append(poll(clock))
        finally:
            connection.close()

    thread = Thread(target=late)
    thread.start()
    while not held.hits:
        sleep(0.01)
    assert poll(clock).ended == {"completed": 1}
    settle(clock)
    TrainingRun.objects.update(status=RunStatus.DEPLOYED)
    held.release()
    thread.join()
    run.refresh_from_db()
    assert (run.status, results[0].ended["completed"]) == ("deployed", 0)


def test_a_running_run_without_a_job_is_not_asked_about(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    TrainingRunFactory(project_id=project.pk, status=RunStatus.RUNNING)
    assert poll(clock) == PollResult()
    assert cloud.effects.count(LIST) == 0


def delete_job(cloud: LocalCloud, run: TrainingRun, clock: CloudClock) -> None:
    clock.forward(400)
    channels.client("PipelineService").delete_pipeline_job(name=str(job_name(run)))


def test_a_run_whose_job_was_deleted_fails_with_a_clear_reason(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    run = start_run(project, clock)
    delete_job(cloud, run, clock)
    assert poll(clock).ended == {"failed": 1}
    run.refresh_from_db()
    assert (run.status, run.error) == ("failed", FORGOTTEN)


def test_a_job_that_is_not_shown_yet_is_not_taken_for_gone(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    run = start_run(project, clock)
    cloud.faults.order(
        method="PipelineService.*PipelineJob*", kind="stale", seconds=3600.0, times=None
    )
    assert len(poll(clock).unknown) == 1
    run.refresh_from_db()
    assert (run.status, run.error) == ("running", "")
    cloud.faults.clear()
    clock.forward(400)
    assert poll(clock).ended == {"completed": 1}


@pytest.mark.any_database
@pytest.mark.parametrize("code", ["UNAVAILABLE", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"])
@pytest.mark.parametrize("method", [LIST, GET, "storage.objects.list", "storage.objects.get"])
def test_an_answer_that_proves_nothing_changes_nothing(
    cloud: LocalCloud, clock: CloudClock, project: Project, settings: Any, code: str, method: str
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    run = start_run(project, clock)
    clock.forward(400)
    cloud.faults.order(method=method, kind="error", code=code)
    result = poll(clock)
    assert (result.ended, len(result.unknown)) == ({}, 1)
    run.refresh_from_db()
    assert (run.status, run.error) == ("running", "")
    assert poll(clock).ended == {"completed": 1}


def test_a_run_whose_bucket_is_gone_says_so_until_it_is_back(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    run = start_run(project, clock)
    clock.forward(400)
    cloud.faults.order(method="storage.objects.list", kind="error", code="NOT_FOUND")
    assert len(poll(clock).unknown) == 1
    run.refresh_from_db()
    assert (run.status, run.error.startswith(NO_RESULTS)) == ("running", True)
    assert poll(clock).ended == {"completed": 1}
    run.refresh_from_db()
    assert (run.status, run.error) == ("completed", "")


@pytest.mark.slow
def test_a_listing_that_breaks_off_says_nothing_of_the_runs_it_did_not_show(
    cloud: LocalCloud, clock: CloudClock, project: Project, settings: Any
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    many_live_runs(project, clock, 150)
    clock.forward(15)
    cloud.faults.order(method=LIST, kind="error", code="UNAVAILABLE", nth=2)
    result = poll(clock)
    assert (result.live, result.ended, len(result.unknown)) == (150, {}, 1)
    assert cloud.effects.count(GET) == 0


def test_a_job_that_hangs_stays_running(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    cloud.pipelines.outcome("hang:train")
    run = start_run(project, clock)
    clock.forward(30 * 24 * 3600)
    assert poll(clock).ended == {}
    run.refresh_from_db()
    assert (run.status, run.stage) == ("running", "train")


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_two_polls_at_once_end_a_run_once(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    for number in range(5):
        start_run(project, clock, model_name=f"model-{number}")
    clock.forward(100)
    results: list[PollResult] = []

    def work() -> None:
        try:
            results.append(poll(clock))
        finally:
            connection.close()

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.ended["completed"] for result in results) == 5
    assert Operation.objects.filter(kind=OperationKind.REGISTER).count() == 5


def test_the_command_polls_and_says_when_google_could_not_be_asked(
    cloud: LocalCloud, clock: CloudClock, project: Project, settings: Any
) -> None:
    out = StringIO()
    call_command("poll_training_runs", stdout=out)
    assert out.getvalue() == "0 running, of which ended: none.\n"
    start_run(project, clock)
    clock.forward(400)
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    cloud.faults.order(method=LIST, kind="error", code="UNAVAILABLE")
    with pytest.raises(CommandError, match="No pipeline could be read") as ended:
        call_command("poll_training_runs", stdout=out)
    assert ended.value.returncode == 2
    call_command("poll_training_runs", stdout=out)
    assert out.getvalue().endswith("1 running, of which ended: 1 completed.\n")
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "BUCKET": ""}
    with pytest.raises(CommandError, match="has no BUCKET"):
        call_command("poll_training_runs")
