"""Turns about jobs and decisions: Cloud Scheduler's console, the platform's jobs, approvals, and
operations of Google that never end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask

from ml_platform.cloud.transport import channels
from ml_platform.models import TrainingRun
from ml_platform.models.states import Approval
from ml_platform.services.registration.approval import approve_version, withdraw_approval
from ml_platform.services.scheduling.platform_jobs import set_up_job

from . import planes
from .by_hand import by_hand, rpc
from .world import BO

if TYPE_CHECKING:
    from ml_platform.localcloud.core.faults.orders import When

    from .play import Play

PLATFORM_JOB = "mlp-clean-up"
THEIR_CRON = "13 13 13 * *"
THEIR_TARGET = "https://example.com/theirs"
NEVER = (
    "ModelService.UploadModel",
    "ModelService.DeleteModel*",
    "Services.UpdateService",
    "Services.CreateService",
    "Services.DeleteService",
)


def set_up(play: Play) -> None:
    """An administrator sets up a job of the platform, or its other hour."""
    set_up_job(
        job_id=PLATFORM_JOB,
        cron=f"0 {play.dice.choice([3, 4])} * * *",
        webhook="webhook/",
        deadline=180,
        description="Cleans up.",
        actor=BO,
        clock=play.world.now,
    )


def meddle_with_job(play: Play) -> None:
    """A job of ours is paused, resumed, deleted, or gets another hour; a schedule's also another
    target. That of the platform keeps its target: with another one it is somebody else's."""
    jobs = planes.jobs(play.world.cloud)
    if not jobs:
        return
    job_id = play.dice.choice(sorted(jobs))
    way = play.dice.choice(["pause_job", "resume_job", "delete_job", "hour", "target"])
    if way == "target" and job_id == PLATFORM_JOB:
        way = "hour"
    play.tell(f"  {way} of {job_id}")
    play.count("jobs changed")
    name = f"{channels.location_path()}/jobs/{job_id}"
    with by_hand(play):
        if way.endswith("_job"):
            rpc("CloudScheduler", way, name=name)
            return
        change: dict[str, Any] = {"name": name}
        change |= (
            {"schedule": THEIR_CRON} if way == "hour" else {"http_target": {"uri": THEIR_TARGET}}
        )
        path = "schedule" if way == "hour" else "http_target.uri"
        rpc("CloudScheduler", "update_job", job=change, update_mask=FieldMask(paths=[path]))


def decide(play: Play) -> None:
    """A person approves a version, or withdraws its approval."""
    if run := play.pick(TrainingRun.objects.versions()):
        turn = play.dice.choice([approve_version, withdraw_approval])
        play.count("decisions")
        turn(run=run, actor=BO, reason="The team has looked at it.", now=play.world.now())


def approve_again(play: Play) -> None:
    """What was withdrawn is approved, so that all that serves may be deployed again."""
    for run in TrainingRun.objects.versions().filter(approval=Approval.WITHDRAWN).order_by("pk"):
        approve_version(run=run, actor=BO, reason="It is good again.", now=play.world.now())


def never_ends(play: Play) -> None:
    """The next long-running operation of a kind never ends, whether it is done or not."""
    method = play.dice.choice(NEVER)
    when: When = play.dice.choice(["before", "after"])
    play.tell(f"  {method} never ends, {when} its effect")
    play.count("endless operations")
    play.world.cloud.faults.order(method, "never", when=when)


JOBS = (
    (2, (meddle_with_job, decide, set_up)),
    (1, (never_ends,)),
)
"""Weight -> turns."""
