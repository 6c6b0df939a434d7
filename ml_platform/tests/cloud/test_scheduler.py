"""Cloud Scheduler jobs as the product sees them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ml_platform.cloud import scheduler
from ml_platform.cloud.types import JobSpec, JobState
from ml_platform.errors import CloudAbsent, CloudExists, CloudRejected, Invalid

SPEC = JobSpec(
    job_id="cleanup-orphan-models",
    schedule="0 4 * * *",
    uri="http://127.0.0.1:9/api/system/cleanup-orphan-models-webhook/",
    service_account="caller@demo-project.iam.gserviceaccount.com",
    audience="https://ml.example.com/",
    body=b'{"days": 7}',
    description="Deletes orphans",
    attempt_deadline=600,
    retry_count=2,
)


def test_a_job_comes_back_as_it_was_asked_for(cloud):
    job = scheduler.create_job(SPEC)
    assert (job.spec, job.state) == (SPEC, JobState.ENABLED)
    assert str(job.name) == "projects/demo-project/locations/europe-central2/jobs/" + SPEC.job_id
    assert job.next_run is not None
    assert (job.next_run.hour, job.next_run.minute, job.next_run.second) == (4, 0, 0)
    assert scheduler.get_job(SPEC.job_id) == job


def test_a_body_that_looks_like_base64_is_sent_as_it_is(cloud):
    spec = replace(SPEC, body=b"abcd")
    assert scheduler.create_job(spec).spec.body == b"abcd"


def test_a_name_is_taken_once(cloud):
    scheduler.create_job(SPEC)
    with pytest.raises(CloudExists):
        scheduler.create_job(SPEC)


def test_a_schedule_that_is_none_is_refused(cloud):
    with pytest.raises(CloudRejected):
        scheduler.create_job(replace(SPEC, schedule="every day"))
    with pytest.raises(CloudAbsent):
        scheduler.get_job(SPEC.job_id)


def test_a_job_is_updated_and_a_paused_one_stays_paused(cloud):
    scheduler.create_job(SPEC)
    scheduler.pause_job(SPEC.job_id)
    newer = replace(SPEC, schedule="30 5 * * *", time_zone="Europe/Warsaw", body=b"", retry_count=0)
    job = scheduler.update_job(newer)
    assert (job.spec, job.state) == (newer, JobState.PAUSED)


def test_a_job_is_paused_and_resumed(cloud):
    scheduler.create_job(SPEC)
    assert scheduler.pause_job(SPEC.job_id).state is JobState.PAUSED
    assert scheduler.resume_job(SPEC.job_id).state is JobState.ENABLED


def test_a_deleted_job_is_absent(cloud):
    scheduler.create_job(SPEC)
    scheduler.delete_job(SPEC.job_id)
    for send in (
        scheduler.get_job,
        scheduler.delete_job,
        scheduler.pause_job,
        scheduler.resume_job,
        lambda job_id: scheduler.update_job(replace(SPEC, job_id=job_id)),
    ):
        with pytest.raises(CloudAbsent):
            send(SPEC.job_id)


def test_what_is_no_job_id_is_not_sent(cloud):
    with pytest.raises(Invalid):
        scheduler.get_job("a/b")
    assert cloud.effects.count("*") == 0
