"""Jobs of our names in Cloud Scheduler that call another installation are never taken over."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command

from ml_platform.cloud import scheduler
from ml_platform.cloud.transport import channels
from ml_platform.models import Installation
from ml_platform.models.clock import database_now
from ml_platform.services.installation.marker import require_ours
from ml_platform.tests.factories import UserFactory
from ml_platform.tests.services.installations import MARKER, another_database
from ml_platform.tests.services.world import BUCKET

from .api_tools import bearer, post

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
API = "/api/system/setup-cleanup-scheduler/"
JOB = "cleanup-gcs-artifacts"


@pytest.fixture
def public(cloud: LocalCloud, settings: Any) -> Any:
    """Settings of an installation at this address."""

    def at(url: str, **more: Any) -> None:
        accounts = ["jobs@demo-project.iam.gserviceaccount.com"]
        settings.ML_PLATFORM = {
            **settings.ML_PLATFORM,
            "PUBLIC_URL": url,
            "WEBHOOK_SERVICE_ACCOUNTS": accounts,
            **more,
        }

    at("https://first.example.com/")
    channels.storage_client().create_bucket(BUCKET)
    return at


def set_up() -> str:
    out = io.StringIO()
    call_command("setup_cleanup_scheduler", stdout=out)
    return out.getvalue()


def uri(job: str = JOB) -> str:
    return scheduler.get_job(job).spec.uri


def test_the_second_installation_is_refused_in_a_sentence_and_a_prefix_helps(
    cloud: LocalCloud, public: Any
):
    set_up()
    firsts = scheduler.get_job(JOB)
    another_database()
    public("https://second.example.com/")
    with pytest.raises(CommandError) as refused:
        set_up()
    assert "calls https://first.example.com/" in str(refused.value)
    assert "Set JOB_PREFIX" in str(refused.value)
    answer = post(bearer(UserFactory.create(is_superuser=True, is_staff=True)), API)
    assert answer.json()["code"] == "foreign_job"
    assert "JOB_PREFIX" in answer.json()["advice"]
    assert scheduler.get_job(JOB) == firsts
    public("https://second.example.com/", JOB_PREFIX="second-")
    assert f"created: projects/demo-project/locations/europe-central2/jobs/second-{JOB}" in set_up()
    assert uri(f"second-{JOB}").startswith("https://second.example.com/")
    assert scheduler.get_job(JOB) == firsts


def test_an_address_that_only_begins_like_ours_is_not_ours(cloud: LocalCloud, public: Any):
    set_up()
    another_database()
    public("https://first.example.co")
    with pytest.raises(CommandError, match="not ours"):
        set_up()


def test_a_site_that_moves_takes_its_own_jobs_along(cloud: LocalCloud, public: Any):
    set_up()
    public("https://moved.example.com/")
    assert "updated" in set_up()
    assert uri().startswith("https://moved.example.com/")
    scheduler.update_job(replace(scheduler.get_job(JOB).spec, uri="https://third.example.com/x"))
    with pytest.raises(CommandError, match="third"):
        set_up()


def test_a_copy_of_the_database_at_another_address_takes_nothing(cloud: LocalCloud, public: Any):
    set_up()
    require_ours(clock=database_now)
    cloud.storage.write(BUCKET, MARKER, b'{"uid": "abc", "nonce": "1", "name": "first"}')
    Installation.objects.update(written_at=None)
    public("https://copy.example.com/")
    with pytest.raises(CommandError, match="did not write"):
        set_up()
    assert uri().startswith("https://first.example.com/")
