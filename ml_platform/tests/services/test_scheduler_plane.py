"""What people do to our jobs in Cloud Scheduler: each deed is found, repaired, and then gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.cloud import scheduler_v1

from ml_platform.models import Finding, MirroredJob, Operation, Project, Sweep, TrainingSchedule
from ml_platform.services.findings.kinds import KINDS
from ml_platform.services.repairs.reconciliation import is_safe, repair_finding
from ml_platform.services.scheduling.job import job_id_of
from ml_platform.services.scheduling.platform_jobs import JobSetup, set_up_job
from ml_platform.services.scheduling.ringing import is_silent, status_of, with_job_finding
from ml_platform.services.scheduling.schedules import create_schedule, fire_schedule, pause_schedule
from ml_platform.services.sweeps.audit import AuditVerdict, compare_sweep
from ml_platform.services.sweeps.sweep import sweep

from .training_tools import ANA, TEMPLATE_URI, CloudClock, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
PARENT = "projects/demo-project/locations/europe-central2"
RINGER = "ringer@demo-project.iam.gserviceaccount.com"
FIRST = datetime(2026, 2, 9, 3, tzinfo=UTC)
ELSEWHERE = "https://elsewhere.example.com/"


class Console:
    """A person in Google's console."""

    def __init__(self, cloud: LocalCloud) -> None:
        channel = grpc.insecure_channel(cloud.grpc_target)
        transport = scheduler_v1.CloudSchedulerClient.get_transport_class("grpc")(channel=channel)
        self.jobs = scheduler_v1.CloudSchedulerClient(transport=transport)

    def do(self, deed: str, job_id: str) -> None:
        """Pause, resume or delete the job, or write a field of it (`schedule=0 0 1 1 *`)."""
        name = f"{PARENT}/jobs/{job_id}"
        field, _, value = deed.partition("=")
        if not value:
            getattr(self.jobs, f"{deed}_job")(name=name)
            return
        job = self.jobs.get_job(name=name)
        owner: Any = job
        *path, last = field.split(".")
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, last, value)
        self.jobs.update_job(job=job)


@pytest.fixture
def console(cloud: LocalCloud) -> Console:
    return Console(cloud)


@pytest.fixture
def clock(cloud: LocalCloud, settings: Any) -> CloudClock:
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "http://127.0.0.1:9/ml/",
        "WEBHOOK_SERVICE_ACCOUNTS": (RINGER,),
        "RETRY_TIMEOUT": 0.0,
    }
    return CloudClock(cloud)


def plan(clock: CloudClock, **changes: Any) -> TrainingSchedule:
    project, _ = Project.objects.get_or_create(name="test_v1")
    given: dict[str, Any] = {
        "name": "nightly",
        "model_name": "chern",
        "model_type": "retrieval",
        "template_uri": TEMPLATE_URI,
        "parameters": {},
        "frequency": "daily",
        "first": FIRST,
        "time_zone": "Europe/Berlin",
    }
    create_schedule(project=project, actor=ANA, now=clock(), **(given | changes))
    settle(clock)
    return TrainingSchedule.objects.latest("id")


def set_up(clock: CloudClock) -> JobSetup:
    return set_up_job(
        job_id="poll",
        cron="* * * * *",
        webhook="api/system/poll/",
        deadline=60,
        description="Polls.",
        actor=ANA,
        clock=clock,
    )


def look(clock: CloudClock) -> Sweep:
    clock.forward(1)
    done = sweep(actor=ANA, clock=clock)
    clock.forward(1)
    return done


def found() -> list[str]:
    return [str(kind) for kind in Finding.objects.open().values_list("kind", flat=True)]


def repair(clock: CloudClock) -> Operation:
    finding = Finding.objects.open().get()
    assert is_safe(finding)
    operation = repair_finding(finding=finding, actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    finding.refresh_from_db()
    if operation.status == "succeeded":
        assert finding.status == "repaired"
    return operation


def told(schedule: TrainingSchedule) -> tuple[str, bool]:
    row = with_job_finding(TrainingSchedule.objects.filter(pk=schedule.pk)).get()
    return status_of(row), is_silent(row)


DEEDS = pytest.mark.parametrize(
    ("deed", "ending", "status"),
    [
        ("pause", "paused", ("Paused in Cloud Scheduler", True)),
        ("delete", "missing", ("Missing in Cloud Scheduler", True)),
        ("schedule=0 0 1 1 *", "changed", ("Changed in Cloud Scheduler", False)),
        ("time_zone=Asia/Tokyo", "changed", ("Changed in Cloud Scheduler", False)),
        (f"http_target.uri={ELSEWHERE}", "changed", ("Changed in Cloud Scheduler", False)),
        (
            "http_target.oidc_token.service_account_email=other@demo-project.iam.gserviceaccount.com",
            "changed",
            ("Changed in Cloud Scheduler", False),
        ),
        # What does not keep a call from coming is not compared.
        ("description=Mine", "", ("Active", False)),
    ],
)


@pytest.mark.slow
@pytest.mark.any_database
@DEEDS
def test_a_deed_at_a_schedules_job_is_found_and_repaired(
    clock: CloudClock, console: Console, deed: str, ending: str, status: tuple[str, bool]
) -> None:
    schedule = plan(clock)
    look(clock)
    assert (found(), told(schedule)) == ([], ("Active", False))
    console.do(deed, job_id_of(schedule))
    done = look(clock)
    assert found() == ([f"schedule_{ending}"] if ending else [])
    assert told(schedule) == status
    wanted = AuditVerdict.DIFFER if ending else AuditVerdict.AGREE
    assert compare_sweep(done) == wanted
    if not ending:
        return
    before = console.jobs.list_jobs(parent=PARENT).jobs
    assert repair(clock).status == "succeeded"
    assert told(schedule) == ("Active", False)
    assert list(console.jobs.list_jobs(parent=PARENT).jobs) != list(before)
    assert compare_sweep(look(clock)) == AuditVerdict.AGREE
    assert found() == []


@pytest.mark.slow
def test_a_paused_schedule_whose_job_somebody_resumed_is_paused_again(
    clock: CloudClock, console: Console
) -> None:
    schedule = plan(clock)
    pause_schedule(schedule=schedule, actor=ANA, now=clock())
    settle(clock)
    look(clock)
    assert (found(), told(schedule)) == ([], ("Paused", False))
    console.do("resume", job_id_of(schedule))
    look(clock)
    assert found() == ["schedule_changed"]
    assert repair(clock).status == "succeeded"
    look(clock)
    assert (found(), told(schedule)) == ([], ("Paused", False))
    assert console.jobs.get_job(name=f"{PARENT}/jobs/{job_id_of(schedule)}").state.name == "PAUSED"


def test_a_deed_that_its_person_takes_back_closes_the_finding(
    clock: CloudClock, console: Console
) -> None:
    schedule = plan(clock)
    console.do("pause", job_id_of(schedule))
    look(clock)
    console.do("resume", job_id_of(schedule))
    finding = Finding.objects.open().get()
    operation = repair_finding(finding=finding, actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    finding.refresh_from_db()
    assert (operation.status, finding.status) == ("succeeded", "gone")


@pytest.mark.slow
def test_a_job_that_was_refused_at_its_creation_is_missing_until_a_repair_creates_it(
    cloud: LocalCloud, clock: CloudClock
) -> None:
    cloud.faults.order("CloudScheduler.CreateJob", "error", code="INVALID_ARGUMENT", times=None)
    schedule = plan(clock)
    look(clock)
    look(clock)
    assert (found(), told(schedule)) == (
        ["schedule_missing"],
        ("Missing in Cloud Scheduler", True),
    )
    assert repair(clock).status == "failed"  # it says that it could not
    look(clock)
    assert found() == ["schedule_missing"]
    cloud.faults.clear()
    assert repair(clock).status == "succeeded"
    look(clock)
    assert (found(), told(schedule)) == ([], ("Active", False))


@pytest.mark.slow
def test_a_time_that_passed_without_a_call_is_overdue_until_the_next_is_expected(
    clock: CloudClock,
) -> None:
    schedule = plan(clock, frequency="hourly", first=clock() + timedelta(hours=1))
    clock.forward(3600 + 14 * 60)  # nobody listens at PUBLIC_URL
    look(clock)
    assert found() == []
    clock.forward(120)
    look(clock)
    assert (found(), told(schedule)) == (["schedule_overdue"], ("Overdue", False))
    assert "no call came" in Finding.objects.open().get().title
    assert Finding.objects.open().get().evidence["scheduler_last_error"] != ""
    operation = repair(clock)
    assert (operation.status, operation.steps[0]["note"].split(" ")[1:3]) == (
        "succeeded",
        ["was", "missed;"],
    )
    look(clock)
    assert (found(), told(schedule)) == ([], ("Active", False))
    clock.forward(3600)
    look(clock)
    assert found() == ["schedule_overdue"]  # of another time


@pytest.mark.slow
def test_a_single_time_that_was_missed_ends_its_schedule(
    clock: CloudClock, console: Console
) -> None:
    schedule = plan(clock, frequency="once", first=clock() + timedelta(hours=1))
    clock.forward(2 * 3600)
    look(clock)
    assert found() == ["schedule_overdue"]
    assert repair(clock).status == "succeeded"
    look(clock)
    assert (found(), told(schedule)) == ([], ("Completed", False))
    assert list(console.jobs.list_jobs(parent=PARENT).jobs) == []


def test_a_call_that_comes_keeps_a_schedule_in_time(clock: CloudClock) -> None:
    schedule = plan(clock)
    clock.forward((FIRST - clock()).total_seconds() + 60)
    fire_schedule(schedule=schedule, scheduled_for=FIRST, actor=ANA, now=clock())
    clock.forward(3600)
    look(clock)
    assert "schedule_overdue" not in found()


@pytest.mark.slow
@pytest.mark.any_database
@DEEDS
def test_a_deed_at_a_job_of_the_platform_is_found_and_repaired(
    clock: CloudClock, console: Console, deed: str, ending: str, status: tuple[str, bool]
) -> None:
    look(clock)
    assert found() == []  # nobody set it up
    assert set_up(clock).action == "created"
    look(clock)
    assert found() == []
    console.do(deed, "poll")
    look(clock)
    assert found() == ([f"job_{ending}"] if ending else [])
    if not ending:
        return
    operation = repair(clock)
    if "uri" in deed:  # it may be another installation's: a person has to say
        assert (operation.status, operation.error_code) == ("failed", "foreign_job")
        assert "JOB_PREFIX" in operation.advice
        assert "JOB_PREFIX" in Finding.objects.open().get().repair
        return
    assert operation.status == "succeeded"
    look(clock)
    assert found() == []
    assert set_up(clock).action == "unchanged"


@pytest.mark.parametrize(
    ("deed", "action"),
    [("pause", "resumed"), ("delete", "created"), ("schedule=0 * * * *", "updated")],
)
def test_a_setup_says_what_it_did_to_a_job_that_somebody_changed(
    clock: CloudClock, console: Console, deed: str, action: str
) -> None:
    set_up(clock)
    console.do(deed, "poll")
    assert set_up(clock).action == action
    assert set_up(clock).action == "unchanged"
    assert console.jobs.get_job(name=f"{PARENT}/jobs/poll").state.name == "ENABLED"


def test_jobs_of_others_are_theirs_and_make_no_finding(clock: CloudClock, console: Console) -> None:
    target = {"uri": ELSEWHERE}
    job: Any = {
        "schedule": "* * * * *",
        "http_target": target,
        "name": f"{PARENT}/jobs/poll",
    }
    console.jobs.create_job(parent=PARENT, job=job)
    done = look(clock)
    assert (done.counts["scheduler"], done.counts["theirs"]["scheduler"]) == (0, 1)
    assert found() == []
    assert MirroredJob.objects.get().theirs


@pytest.mark.slow
@pytest.mark.any_database
@pytest.mark.parametrize(
    "code", ["PERMISSION_DENIED", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED"]
)
def test_a_listing_that_failed_is_unknown_and_reports_nothing_missing(
    cloud: LocalCloud, clock: CloudClock, console: Console, code: str
) -> None:
    schedule = plan(clock)
    look(clock)
    console.do("delete", job_id_of(schedule))
    cloud.faults.order("CloudScheduler.ListJobs", "error", code=code, times=None)
    done = look(clock)
    assert done.planes["scheduler"]["read"] is False
    assert compare_sweep(done) == AuditVerdict.UNKNOWN
    assert (found(), MirroredJob.objects.count()) == ([], 1)
    cloud.faults.clear()
    assert compare_sweep(look(clock)) == AuditVerdict.DIFFER


@pytest.mark.slow
def test_a_sweep_lists_the_jobs_once_for_each_five_hundred(
    cloud: LocalCloud, clock: CloudClock, console: Console
) -> None:
    make: Callable[..., Any] = partial(console.jobs.create_job, parent=PARENT)
    for number in range(501):
        target = {"uri": ELSEWHERE}
        name = f"{PARENT}/jobs/n{number}"
        make(job={"schedule": "0 0 1 1 *", "http_target": target, "name": name})
    before = cloud.effects.count("CloudScheduler.*")
    look(clock)
    assert cloud.effects.count("CloudScheduler.*") - before == 2
    assert MirroredJob.objects.count() == 501


def test_every_kind_of_this_plane_has_a_deed_here() -> None:
    kinds = {kind for kind in KINDS if kind.facts.plane == "scheduler"}
    ends = {"missing", "paused", "changed"}
    assert kinds == {f"{of}_{e}" for of in ("schedule", "job") for e in ends} | {"schedule_overdue"}
