"""The schedule of another program is taken over: one job calls at any time, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud import scheduler
from ml_platform.models import Operation, TrainingSchedule
from ml_platform.services.scheduling.job import job_id_of
from ml_platform.tests.factories import ProjectFactory

from .training_tools import CloudClock, settle, taken_over, their_job

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.mark.parametrize("state", ["enabled", "lost", "paused"])
def test_their_job_is_paused_and_ours_is_as_theirs_was(
    cloud: LocalCloud, settings: Any, state: str
) -> None:
    """A pause whose answer was lost is not taken for one by hand."""
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "http://127.0.0.1:9/ml/",
        "WEBHOOK_SERVICE_ACCOUNTS": ("ringer@demo-project.iam.gserviceaccount.com",),
    }
    clock, theirs, project = CloudClock(cloud), their_job(), ProjectFactory.create()
    if state == "lost":
        cloud.faults.order("CloudScheduler.PauseJob", "lost", code="UNAVAILABLE")
    elif state == "paused":
        scheduler.pause_job(theirs.job_id)
    operation = taken_over(project, clock())
    assert taken_over(project, clock()) == operation
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, Operation.objects.count()) == ("succeeded", 1)
    ours = TrainingSchedule.objects.get()
    assert ours.state == ("paused" if state == "paused" else "active")
    assert scheduler.get_job(theirs.job_id).state == "paused"
    job = scheduler.get_job(job_id_of(ours))
    assert job.state == ("paused" if state == "paused" else "enabled")
    assert (ours.next_run_at is None) == (state == "paused")
