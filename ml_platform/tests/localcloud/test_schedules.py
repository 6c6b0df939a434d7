"""Schedules start pipeline jobs at their cron times, on the cloud's clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient
from google.cloud.aiplatform_v1.types import Schedule

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import NUMBERED, PARENT

Create = Callable[..., Any]
NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
MINUTE, HOUR = 60, 3600


def template(**job: Any) -> dict[str, Any]:
    """A create_pipeline_job_request."""
    config = {"gcs_output_directory": "gs://artifacts/runs"}
    spec = {"pipelineInfo": {"name": "ranking"}}
    return {
        "parent": PARENT,
        "pipeline_job": {"pipeline_spec": spec, "runtime_config": config} | job,
    }


@pytest.fixture
def create(cloud: LocalCloud, schedules: ScheduleServiceClient) -> Create:
    """Create a schedule, every five minutes unless told otherwise; it is noon, and time stands."""
    cloud.clock.freeze()
    cloud.clock.set(NOON)

    def create(request: dict[str, Any] | None = None, **fields: Any) -> Any:
        asked = {
            "display_name": "nightly",
            "cron": "*/5 * * * *",
            "max_concurrent_run_count": 1,
            "create_pipeline_job_request": request or template(),
        }
        return schedules.create_schedule({"parent": PARENT, "schedule": asked | fields})

    return create


def runs(client: PipelineServiceClient, schedule: Any) -> list[datetime]:
    """When the jobs of a schedule were created, oldest first."""
    asked = {"parent": PARENT, "filter": f"schedule_name={schedule.name}"}
    jobs = client.list_pipeline_jobs(asked | {"order_by": "create_time"})
    return [job.create_time for job in jobs]


def at(*minutes: int) -> list[datetime]:
    """Times of that many minutes after noon."""
    return [NOON + timedelta(minutes=number) for number in minutes]


def test_a_schedule_runs_its_template_at_its_cron_times(
    cloud: LocalCloud,
    schedules: ScheduleServiceClient,
    pipelines: PipelineServiceClient,
    create: Create,
) -> None:
    made = create(template(labels={"team": "red"}, display_name="ranking"))
    assert made.name.startswith(f"{NUMBERED}/schedules/")
    assert (made.state, made.start_time, made.next_run_time) == (
        Schedule.State.ACTIVE,
        NOON,
        at(5)[0],
    )
    cloud.clock.advance(12 * MINUTE)
    assert runs(pipelines, made) == at(5, 10)
    found = schedules.get_schedule(name=made.name)
    assert (found.started_run_count, found.next_run_time) == (2, at(15)[0])
    job = next(iter(pipelines.list_pipeline_jobs(parent=PARENT)))
    assert (job.schedule_name, job.display_name, job.labels["team"]) == (
        made.name,
        "ranking",
        "red",
    )
    assert found.last_scheduled_run_response.run_response == job.name
    assert found.last_scheduled_run_response.scheduled_run_time == at(10)[0]
    cloud.clock.advance(MINUTE)
    assert pipelines.get_pipeline_job(name=job.name).state.name == "PIPELINE_STATE_SUCCEEDED"


def update(client: ScheduleServiceClient, name: str, paths: list[str], **fields: Any) -> Any:
    """UpdateSchedule of what the mask names; the schedule."""
    asked = {"schedule": {"name": name, **fields}, "update_mask": {"paths": paths}}
    return client.update_schedule(asked)


@pytest.mark.parametrize(
    ("cron", "first"),
    [
        ("0 15 * * *", datetime(2030, 6, 1, 15, tzinfo=UTC)),
        ("TZ=America/New_York 0 15 * * *", datetime(2030, 6, 1, 19, tzinfo=UTC)),
        ("CRON_TZ=Europe/Paris 30 9 * * MON", datetime(2030, 6, 3, 7, 30, tzinfo=UTC)),
    ],
)
def test_a_cron_line_may_name_its_time_zone(create: Create, cron: str, first: datetime) -> None:
    assert create(cron=cron).next_run_time == first


def test_a_schedule_is_complete_after_its_last_run(
    cloud: LocalCloud,
    schedules: ScheduleServiceClient,
    pipelines: PipelineServiceClient,
    create: Create,
) -> None:
    made = create(max_run_count=2)
    cloud.clock.advance(HOUR)
    assert runs(pipelines, made) == at(5, 10)
    found = schedules.get_schedule(name=made.name)
    assert (found.state, found.next_run_time) == (Schedule.State.COMPLETED, None)
    refused: tuple[Callable[[], Any], ...] = (
        lambda: schedules.pause_schedule(name=made.name),
        lambda: schedules.resume_schedule(name=made.name),
        lambda: update(schedules, made.name, ["cron"], cron="* * * * *"),
    )
    for call in refused:
        with pytest.raises(exceptions.FailedPrecondition, match="COMPLETED"):
            call()


def test_runs_lie_between_the_start_and_the_end(
    cloud: LocalCloud,
    schedules: ScheduleServiceClient,
    pipelines: PipelineServiceClient,
    create: Create,
) -> None:
    made = create(start_time=at(30)[0], end_time=at(45)[0])
    assert made.next_run_time == at(35)[0]
    cloud.clock.advance(44 * MINUTE)
    assert runs(pipelines, made) == at(35, 40)
    assert schedules.get_schedule(name=made.name).state == Schedule.State.ACTIVE
    cloud.clock.advance(HOUR)
    assert runs(pipelines, made) == at(35, 40)
    assert schedules.get_schedule(name=made.name).state == Schedule.State.COMPLETED


@pytest.mark.parametrize(("catch_up", "made_up_for"), [(True, 3), (False, 0)])
def test_a_paused_schedule_starts_nothing_and_makes_up_for_it_when_told(
    cloud: LocalCloud,
    schedules: ScheduleServiceClient,
    pipelines: PipelineServiceClient,
    create: Create,
    catch_up: bool,
    made_up_for: int,
) -> None:
    made = create()
    schedules.pause_schedule(name=made.name)
    cloud.clock.advance(17 * MINUTE)
    found = schedules.get_schedule(name=made.name)
    assert (runs(pipelines, made), found.state) == ([], Schedule.State.PAUSED)
    assert found.last_pause_time == NOON
    with pytest.raises(exceptions.FailedPrecondition):
        schedules.pause_schedule(name=made.name)
    schedules.resume_schedule(name=made.name, catch_up=catch_up)
    cloud.clock.advance(MINUTE)
    assert len(runs(pipelines, made)) == made_up_for
    found = schedules.get_schedule(name=made.name)
    assert (found.state, found.catch_up) == (Schedule.State.ACTIVE, catch_up)
    assert (found.last_resume_time, found.next_run_time) == (at(17)[0], at(20)[0])


def test_no_more_runs_start_at_once_than_allowed(
    cloud: LocalCloud,
    schedules: ScheduleServiceClient,
    pipelines: PipelineServiceClient,
    create: Create,
) -> None:
    made = create(max_concurrent_run_count=2)
    schedules.pause_schedule(name=made.name)
    cloud.clock.advance(26 * MINUTE)
    schedules.resume_schedule(name=made.name, catch_up=True)
    started = []
    for _ in range(4):
        cloud.clock.advance(1)
        started.append(len(runs(pipelines, made)))
    assert started == [2, 4, 5, 5]


@pytest.mark.parametrize(("queue", "started"), [(True, [5, 21, 37]), (False, [5, 25])])
def test_runs_wait_for_a_free_place_or_are_skipped(
    cloud: LocalCloud,
    pipelines: PipelineServiceClient,
    create: Create,
    queue: bool,
    started: list[int],
) -> None:
    # A job takes 6 steps of 160 seconds: 16 minutes.
    cloud.pipelines.stage_seconds = 160
    made = create(max_concurrent_active_run_count=1, allow_queueing=queue)
    cloud.clock.advance(40 * MINUTE)
    assert runs(pipelines, made) == at(*started)


def test_an_update_skips_what_was_not_started(
    cloud: LocalCloud,
    schedules: ScheduleServiceClient,
    pipelines: PipelineServiceClient,
    create: Create,
) -> None:
    made = create()
    changed = update(
        schedules, made.name, ["cron"], cron="0 * * * *", display_name="not in the mask"
    )
    assert (changed.cron, changed.display_name) == ("0 * * * *", "nightly")
    assert changed.next_run_time == at(60)[0]
    cloud.clock.advance(HOUR)
    assert runs(pipelines, made) == at(60)
    output = ["state", "started_run_count"]
    kept = update(schedules, made.name, output, state="PAUSED", started_run_count=9)
    assert (kept.state, kept.started_run_count) == (Schedule.State.ACTIVE, 1)
    for paths in (["cron"], ["nothing"], []):
        with pytest.raises(exceptions.InvalidArgument):
            update(schedules, made.name, paths)


def test_a_deleted_schedule_starts_nothing_and_its_jobs_stay(
    cloud: LocalCloud,
    schedules: ScheduleServiceClient,
    pipelines: PipelineServiceClient,
    create: Create,
) -> None:
    made = create()
    cloud.clock.advance(5 * MINUTE)
    schedules.delete_schedule(name=made.name).result()
    cloud.clock.advance(HOUR)
    assert runs(pipelines, made) == at(5)
    with pytest.raises(exceptions.NotFound):
        schedules.get_schedule(name=made.name)


def test_a_run_that_is_refused_says_why_and_does_not_count(
    cloud: LocalCloud,
    schedules: ScheduleServiceClient,
    pipelines: PipelineServiceClient,
    create: Create,
) -> None:
    made = create(template() | {"pipeline_job_id": "fixed"})
    cloud.clock.advance(12 * MINUTE)
    assert runs(pipelines, made) == at(5)
    found = schedules.get_schedule(name=made.name)
    assert found.started_run_count == 1
    assert "already exists" in found.last_scheduled_run_response.run_response


@pytest.mark.parametrize(
    "wrong",
    [
        {"display_name": ""},
        {"cron": ""},
        {"cron": "@daily"},
        {"cron": "* * * * * *"},
        {"cron": "61 * * * *"},
        {"cron": "TZ=Nowhere/Here * * * * *"},
        {"max_concurrent_run_count": 0},
        {"max_run_count": -1},
        {"start_time": NOON, "end_time": NOON},
        {"create_pipeline_job_request": {}},
    ],
)
def test_a_malformed_schedule_is_an_invalid_argument(
    schedules: ScheduleServiceClient, create: Create, wrong: dict[str, Any]
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        create(**wrong)
    assert list(schedules.list_schedules(parent=PARENT)) == []


def test_a_template_is_checked_when_the_schedule_is_made(create: Create) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="gcs_output_directory is empty"):
        create(template(runtime_config={}))


def test_schedules_are_listed_newest_first_filtered_and_ordered(
    cloud: LocalCloud, schedules: ScheduleServiceClient, create: Create
) -> None:
    for number, name in enumerate(("one", "two", "three")):
        cloud.clock.advance(1)
        create(display_name=name, end_time=at(100 - number)[0] if number else None)
    schedules.pause_schedule(name=next(iter(schedules.list_schedules(parent=PARENT))).name)

    def listed(**asked: Any) -> list[str]:
        return [s.display_name for s in schedules.list_schedules({"parent": PARENT} | asked)]

    assert listed(page_size=2) == ["three", "two", "one"]
    assert listed(filter='state="PAUSED"') == ["three"]
    assert listed(filter='display_name:"t*" AND end_time:*') == ["three", "two"]
    assert listed(filter="NOT end_time:*") == ["one"]
    assert listed(filter="create_pipeline_job_request:*", order_by="end_time") == [
        "one",
        "three",
        "two",
    ]
    with pytest.raises(exceptions.InvalidArgument):
        listed(filter="cron=x")


def test_a_schedule_goes_on_after_a_restart_without_the_runs_it_missed(tmp_path: Path) -> None:
    state = tmp_path / "cloud.sqlite3"

    def client_at(cloud: LocalCloud, cls: Any) -> Any:
        channel = grpc.insecure_channel(cloud.grpc_target)
        return cls(transport=cls.get_transport_class("grpc")(channel=channel))

    with LocalCloud(state=state) as cloud:
        cloud.clock.set(datetime.now(UTC) - timedelta(hours=5))
        asked = {
            "display_name": "nightly",
            "cron": "0 * * * *",
            "max_concurrent_run_count": 1,
            "create_pipeline_job_request": template(),
        }
        made = client_at(cloud, ScheduleServiceClient).create_schedule(
            {"parent": PARENT, "schedule": asked}
        )
    with LocalCloud(state=state) as cloud:
        cloud.clock.advance(3 * HOUR)
        assert len(runs(client_at(cloud, PipelineServiceClient), made)) == 3
