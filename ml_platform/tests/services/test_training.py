"""Training runs: what is refused, what is submitted once, and what is cancelled, rerun, deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud import pipelines
from ml_platform.cloud.transport import channels
from ml_platform.cloud.types import PipelineState
from ml_platform.errors import CloudUnavailable, Conflict, Invalid
from ml_platform.models import Operation, Project, RegisteredModel, TrainingRun
from ml_platform.models.states import OperationStatus, RunStatus
from ml_platform.services.installation.identity import current
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.operations.store import KeyReused
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.training.runs import cancel_run, delete_run, rerun, submit_run
from ml_platform.services.training.submission import job_name
from ml_platform.tests.factories import version_of

from .training_tools import (
    ANA,
    BUCKET,
    SPEC,
    TEMPLATE_URI,
    CloudClock,
    make_run,
    poll,
    settle,
    start_run,
)

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
CREATE = "PipelineService.CreatePipelineJob"


@pytest.fixture
def clock(cloud: LocalCloud) -> CloudClock:
    return CloudClock(cloud)


@pytest.fixture
def project() -> Project:
    return Project.objects.create(name="test_v1")


def test_a_run_is_submitted_as_one_job_with_our_labels(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    run = make_run(project, clock)
    assert (run.status, run.registered_model, run.gcs_artifacts_path) == (
        "pending",
        None,
        f"gs://{BUCKET}/runs/{run.uid.hex}/",
    )
    operation = submit_run(run=run, actor=ANA, now=clock())
    assert submit_run(run=run, actor=ANA, now=clock()) == operation
    settle(clock)
    operation.refresh_from_db()
    run.refresh_from_db()
    assert (operation.status, operation.error) == (OperationStatus.SUCCEEDED, "")
    assert [step["step"] for step in operation.steps] == ["prepare", "create", "record"]
    assert "spec" not in operation.data
    assert run.status == RunStatus.RUNNING
    assert run.submitted_at == clock()
    assert submit_run(run=run, actor=ANA, now=clock()) == operation
    job = pipelines.get_pipeline_job(job_name(run))
    assert str(job.name) == run.pipeline_job_name
    sent = channels.client("PipelineService").get_pipeline_job(name=run.pipeline_job_name)
    assert sent.runtime_config.gcs_output_directory == run.gcs_artifacts_path.rstrip("/")
    assert {key: job.labels[key] for key in job.labels if not key.startswith("vertex-ai-")} == {
        "mlp_owner": "tests",
        "mlp_installation": current().uid.hex,
        "mlp_run": run.uid.hex,
        "mlp_operation": operation.pk.hex,
    }
    assert cloud.effects.count(CREATE) == 1
    assert RegisteredModel.objects.count() == 0


@pytest.mark.any_database
@pytest.mark.parametrize(
    "name",
    ["", "x" * 64, "Chern", "1st", "-a", "a b", "a/b", "<b>x</b>", "модель", "chern\n", "é"],
)  # fmt: skip
def test_a_bad_name_is_refused_in_a_sentence(
    cloud: LocalCloud, clock: CloudClock, project: Project, name: str
) -> None:
    with pytest.raises(Invalid, match="A model name has 1 to 63 characters"):
        make_run(project, clock, model_name=name)
    assert TrainingRun.objects.count() == 0
    assert cloud.effects.count("*") == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model_type": "poem"}, "bad_model_type"),
        ({"template_uri": f"gs://{BUCKET}/templates/none.json"}, "template_missing"),
        ({"template_uri": "gs://no-such-bucket/t.json"}, "bucket_missing"),
        ({"template_uri": f"gs://{BUCKET}/junk"}, "bad_template"),
        ({"template_uri": f"gs://{BUCKET}/binary"}, "bad_template"),
        ({"template_uri": "gs://"}, "bad_name"),
        ({"template_uri": "https://example.com/t.json"}, "bad_template"),
        ({"parameters": {"epoch": 1}}, "unknown_parameter"),
        ({"parameters": {"epochs": "five"}}, "bad_parameters"),
        ({"parameters": {"epochs": 10**400}}, "bad_parameters"),
    ],
    ids=str,
)
def test_what_cannot_be_submitted_leaves_nothing_behind(
    cloud: LocalCloud, clock: CloudClock, project: Project, changes: dict[str, Any], code: str
) -> None:
    cloud.storage.write(BUCKET, "junk", b"just a text")
    cloud.storage.write(BUCKET, "binary", b"\xff\xfe\x00")
    before = len(cloud.effects.mutations())
    with pytest.raises(Invalid) as caught:
        make_run(project, clock, **changes)
    assert (caught.value.code, str(caught.value)[-1]) == (code, ".")
    assert TrainingRun.objects.count() + Operation.objects.count() == 0
    assert len(cloud.effects.mutations()) == before


def test_a_missing_bucket_leaves_nothing_behind(
    cloud: LocalCloud, clock: CloudClock, project: Project, settings: Any
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "BUCKET": "not-made-yet"}
    with pytest.raises(Invalid, match="The bucket not-made-yet does not exist"):
        make_run(project, clock)
    assert TrainingRun.objects.count() == 0


def test_a_cloud_that_does_not_answer_is_not_a_wrong_template(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    cloud.faults.order(method="storage.*", kind="error", code="PERMISSION_DENIED", times=None)
    with pytest.raises(CloudUnavailable):
        make_run(project, clock)
    assert TrainingRun.objects.count() == 0


def test_the_same_key_makes_the_same_run(clock: CloudClock, project: Project) -> None:
    first = make_run(project, clock, idempotency_key="k1")
    assert make_run(project, clock, idempotency_key="k1") == first
    with pytest.raises(KeyReused):
        make_run(project, clock, idempotency_key="k1", parameters={"epochs": 6})
    assert make_run(Project.objects.create(name="another"), clock, idempotency_key="k1") != first
    assert TrainingRun.objects.count() == 2


FAULTS: list[dict[str, Any]] = [
    {"kind": "lost", "code": "UNAVAILABLE"},
    {"kind": "lost", "code": "INTERNAL"},
    {"kind": "lost", "code": "DEADLINE_EXCEEDED"},
    {"kind": "error", "code": "UNAVAILABLE"},
    {"kind": "error", "code": "RESOURCE_EXHAUSTED"},
    {"kind": "error", "code": "INTERNAL", "times": 3},
    {"kind": "lost", "code": "UNAVAILABLE", "times": 2},
]


@pytest.mark.any_database
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_submission_that_met_trouble_ends_as_exactly_one_job(
    cloud: LocalCloud, clock: CloudClock, project: Project, fault: dict[str, Any]
) -> None:
    run = make_run(project, clock)
    cloud.faults.order(method=CREATE, **fault)
    submit_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING
    assert sum(len(page) for page in pipelines.list_pipeline_jobs()) == 1
    assert pipelines.get_pipeline_job(job_name(run)).labels["mlp_run"] == run.uid.hex


def test_a_job_that_is_not_shown_at_first_is_found_when_its_name_is_taken(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    run = make_run(project, clock)
    cloud.faults.order(method=CREATE, kind="lost", code="INTERNAL")
    cloud.faults.order(method="PipelineService.GetPipelineJob", kind="stale", seconds=3600.0)
    submit_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING
    assert cloud.effects.count(CREATE) == 2, "the second was refused: the name was taken"


def test_a_job_of_our_name_that_is_not_ours_is_not_adopted(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    run = make_run(project, clock)
    pipelines.create_pipeline_job(
        job_id=job_name(run).job_id,
        display_name="stranger",
        spec=SPEC,
        parameters={},
        output_directory="gs://elsewhere",
        labels={"mlp_run": "stranger"},
    )
    submit_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    assert (run.status, run.pipeline_job_name) == (RunStatus.FAILED, "")
    assert "is not the job of" in run.error


def test_a_cancellation_that_is_refused_leaves_the_run_running(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    cloud.pipelines.outcome("hang")
    run = start_run(project, clock)
    cloud.faults.order(
        method="PipelineService.CancelPipelineJob",
        kind="error",
        code="PERMISSION_DENIED",
        times=None,
    )
    operation = cancel_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    operation.refresh_from_db()
    assert (run.status, operation.status) == (RunStatus.RUNNING, OperationStatus.FAILED)
    cloud.faults.clear()
    cancel_run(run=run, actor=ANA, now=clock())
    settle(clock)
    clock.forward(60)
    assert poll(clock).ended == {"cancelled": 1}


def refuse_jobs(cloud: LocalCloud) -> None:
    cloud.faults.order(method=CREATE, kind="error", code="INVALID_ARGUMENT")


def lose_template(cloud: LocalCloud) -> None:
    cloud.storage.write(BUCKET, "templates/retrieval.json", b"{}")


@pytest.mark.parametrize("break_it", [refuse_jobs, lose_template])
def test_a_submission_that_failed_says_why_on_the_run(
    cloud: LocalCloud,
    clock: CloudClock,
    project: Project,
    break_it: Callable[[LocalCloud], None],
) -> None:
    run = make_run(project, clock)
    break_it(cloud)
    operation = submit_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    operation.refresh_from_db()
    assert (run.status, run.stage, run.pipeline_job_name) == ("failed", "submit", "")
    assert run.error.startswith(operation.error)
    assert operation.status == OperationStatus.FAILED
    assert RegisteredModel.objects.count() == 0
    why = operation.error
    with pytest.raises(Conflict) as refused:
        retry_operation(operation=operation, actor=ANA)
    assert (refused.value.code, "Rerun it" in refused.value.advice) == ("run_ended", True)
    with pytest.raises(Conflict, match="is failed and cannot be submitted"):
        submit_run(run=run, actor=ANA, now=clock())
    operation.refresh_from_db()
    assert (operation.status, operation.error) == (OperationStatus.FAILED, why)
    assert sum(len(page) for page in pipelines.list_pipeline_jobs()) == 0


def test_a_pipeline_of_the_old_schema_gets_its_parameters_by_type(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    root = {"inputDefinitions": {"parameters": {"epochs": {"type": "INT"}}}, "dag": {}}
    old = {"pipelineInfo": {"name": "old"}, "schemaVersion": "2.0.0", "root": root}
    cloud.storage.write(BUCKET, "templates/retrieval.json", json.dumps(old).encode())
    run = start_run(project, clock, parameters={"epochs": 7})
    sent = (
        channels.client("PipelineService")
        .get_pipeline_job(name=run.pipeline_job_name)
        .runtime_config
    )
    assert sent.parameters["epochs"].int_value == 7
    assert not sent.parameter_values


def test_a_waiting_run_is_cancelled_at_once(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    run = make_run(project, clock)
    operation = cancel_run(run=run, actor=ANA, now=clock())
    run.refresh_from_db()
    assert (run.status, operation.status) == (RunStatus.CANCELLED, OperationStatus.SUCCEEDED)
    with pytest.raises(Conflict, match="is cancelled and cannot be submitted"):
        submit_run(run=run, actor=ANA, now=clock())
    with pytest.raises(Conflict, match="is cancelled and cannot be cancelled"):
        cancel_run(run=run, actor=ANA, now=clock())
    assert Operation.objects.count() == 1
    assert cloud.effects.count(CREATE) == 0


def test_a_submission_that_has_not_begun_is_stopped(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    run = make_run(project, clock)
    submission = submit_run(run=run, actor=ANA, now=clock())
    cancel_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    submission.refresh_from_db()
    assert (run.status, submission.status) == (RunStatus.CANCELLED, OperationStatus.CANCELLED)
    assert cloud.effects.count(CREATE) == 0


def test_a_submission_past_its_check_is_cancelled_after_its_job_began(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    run = make_run(project, clock)
    submit_run(run=run, actor=ANA, now=clock())
    cloud.faults.order(method=CREATE, kind="lost", code="INTERNAL")
    resume_operations(clock=clock)  # stands at look_up now, past the point of no return
    cancel_run(run=run, actor=ANA, now=clock())
    for _ in range(5):
        resume_operations(clock=clock)
        clock.forward(3)
    poll(clock)
    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert not Operation.objects.live().exists()


def test_a_running_run_is_cancelled_through_its_job(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    cloud.pipelines.stage_seconds = 100
    run = start_run(project, clock)
    clock.forward(250)
    operation = cancel_run(run=run, actor=ANA, now=clock())
    assert cancel_run(run=run, actor=ANA, now=clock()) == operation
    resume_operations(clock=clock)
    assert pipelines.get_pipeline_job(job_name(run)).state == PipelineState.UNFINISHED
    clock.forward(100)
    assert poll(clock).ended == {"cancelled": 1}
    run.refresh_from_db()
    operation.refresh_from_db()
    assert (run.status, run.stage, run.progress) == ("cancelled", "train", 25)
    assert operation.status == OperationStatus.SUCCEEDED
    assert cloud.effects.count("PipelineService.CancelPipelineJob") == 1


def test_a_cancelled_job_that_had_succeeded_is_a_success(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    run = start_run(project, clock)
    clock.forward(60)
    operation = cancel_run(run=run, actor=ANA, now=clock())
    resume_operations(clock=clock)
    assert poll(clock).ended == {"completed": 1}
    operation.refresh_from_db()
    assert operation.status == OperationStatus.SUCCEEDED
    with pytest.raises(Conflict):
        cancel_run(run=run, actor=ANA, now=clock())


def test_a_rerun_is_a_manual_run_like_the_first(clock: CloudClock, project: Project) -> None:
    run = make_run(project, clock, parameters={"epochs": 9, "note": "again"})
    again = rerun(run=run, actor=ANA, now=clock(), idempotency_key="again")
    assert rerun(run=run, actor=ANA, now=clock(), idempotency_key="again") == again
    assert again.uid != run.uid
    assert (again.rerun_of, again.parameters, again.template_uri, again.registered_model) == (
        run,
        {"epochs": 9, "note": "again"},
        TEMPLATE_URI,
        None,
    )


def test_a_run_that_failed_can_be_deleted_and_is_kept_in_the_history(
    clock: CloudClock, project: Project
) -> None:
    run = make_run(project, clock)
    cancel_run(run=run, actor=ANA, now=clock())
    run.refresh_from_db()
    operation = delete_run(run=run, actor=ANA, now=clock())
    assert TrainingRun.objects.count() == 0
    assert operation.subject_id == str(run.pk)
    assert run.gcs_artifacts_path in operation.steps[0]["title"]


def test_a_run_that_may_finish_was_rerun_or_is_a_version_is_not_deleted(
    clock: CloudClock, project: Project
) -> None:
    run = make_run(project, clock)
    with pytest.raises(Conflict, match="is pending and cannot be deleted"):
        delete_run(run=run, actor=ANA, now=clock())
    cancel_run(run=run, actor=ANA, now=clock())
    again = rerun(run=run, actor=ANA, now=clock())
    with pytest.raises(Conflict, match="referred to by 1 other records"):
        delete_run(run=run, actor=ANA, now=clock())
    version = version_of(RegisteredModel.objects.create(project=project, model_name="chern"))
    with pytest.raises(Conflict, match="is or was a version"):
        delete_run(run=version, actor=ANA, now=clock())
    assert set(TrainingRun.objects.all()) == {run, again, version}
