"""The daily jobs by hand: what they say, how they end."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command

from ml_platform.models import Operation, RegisteredModel
from ml_platform.tests.factories import (
    LONG_AGO,
    DeployedEndpointFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    version_of,
)
from ml_platform.tests.services.world import artifacts, write_artifact

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, **options)
    return out.getvalue()


def test_orphans_are_rehearsed_and_cleaned_up():
    orphan = RegisteredModelFactory.create(model_name="short-test")
    busy = RegisteredModelFactory.create(model_name="busy")
    TrainingRunFactory.create(registered_model=busy, project=busy.project, model_name="busy")
    said = run("cleanup_orphan_models", "--dry-run")
    assert f"Would delete short-test (id {orphan.pk}" in said
    assert "Would delete 1 orphaned RegisteredModel(s), skipped 1 with active" in said
    assert Operation.objects.count() == 0
    said = run("cleanup_orphan_models", "--days", "7")
    assert "Found 2 orphaned RegisteredModel(s) older than 7 days." in said
    assert "Kept busy" in said
    assert "Deleted 1 orphaned RegisteredModel(s), skipped 1 with active training runs" in said
    assert list(RegisteredModel.objects.all()) == [busy]
    operation = Operation.objects.get()
    assert (operation.origin, operation.actor_label) == ("command", "cleanup-orphan-models")


@pytest.mark.parametrize("days", ["0", "-1", "x", "1.5"])
def test_an_age_that_is_none_is_refused(days: str):
    with pytest.raises(CommandError, match="not a number of days"):
        run("cleanup_orphan_models", "--days", days)


def test_artifacts_are_rehearsed_and_cleaned_up(cloud: LocalCloud):
    failed = TrainingRunFactory.create(failed=True)
    write_artifact(cloud, failed, "a")
    cloud.storage.write("demo-artifacts", "runs/abc/a", b"x")
    assert "Would delete the artifacts of 1 run(s)" in run("cleanup_gcs_artifacts", "--dry-run")
    said = run("cleanup_gcs_artifacts")
    assert "Deleted the artifacts of 1 run(s) older than 7 days: 1 object, 5 bytes" in said
    assert "1 folder(s) of no run, 0 deleted" in said
    assert artifacts(cloud, failed) == []
    said = run("cleanup_gcs_artifacts", "--include-registered", "--delete-strays")
    assert "Kept gs://demo-artifacts/runs/abc/: runs/abc/a was written at " in said
    assert "1 folder(s) of no run, 0 deleted" in said


def test_metrics_that_cannot_be_read_end_with_two(cloud: LocalCloud):
    lineage = RegisteredModelFactory.create()
    version = version_of(lineage)
    serving = {"registered_model": lineage, "run": version, "serving": True}
    DeployedEndpointFactory.create(**serving, deployed_at=LONG_AGO)
    assert "Read 40 days of 1 active service." in run("collect_resource_metrics")
    DeployedEndpointFactory.create(**serving, deployed_at=LONG_AGO)
    cloud.faults.order(
        "MetricService.ListTimeSeries", "error", code="PERMISSION_DENIED", times=None
    )
    with pytest.raises(CommandError, match="No metrics could be read") as blind:
        run("collect_resource_metrics")
    assert blind.value.returncode == 2
    DeployedEndpointFactory.create(**serving, deployed_at=LONG_AGO)
    cloud.faults.clear()
    cloud.faults.order("MetricService.ListTimeSeries", "error", code="PERMISSION_DENIED")
    with pytest.raises(SystemExit) as ended:
        run("collect_resource_metrics")
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("command", "job", "cron"),
    [
        ("setup_orphan_cleanup_scheduler", "cleanup-orphan-models", "0 4 * * *"),
        ("setup_cleanup_scheduler", "cleanup-gcs-artifacts", "0 3 * * *"),
        ("setup_metrics_scheduler", "collect-resource-metrics", "0 2 * * *"),
    ],
)
def test_each_setup_says_what_became_of_its_job(
    cloud: LocalCloud, settings: Any, command: str, job: str, cron: str
):
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "https://ml.example.com/",
        "WEBHOOK_SERVICE_ACCOUNTS": ["ringer@demo-project.iam.gserviceaccount.com"],
    }
    name = f"projects/demo-project/locations/europe-central2/jobs/{job}"
    assert run(command) == f"created: {name}, {cron} UTC\n"
    assert run(command) == f"unchanged: {name}, {cron} UTC\n"


def test_a_setup_whose_answer_was_lost_finds_what_it_made(cloud: LocalCloud, settings: Any):
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "https://ml.example.com/",
        "WEBHOOK_SERVICE_ACCOUNTS": ["ringer@demo-project.iam.gserviceaccount.com"],
    }
    cloud.faults.order("CloudScheduler.CreateJob", "lost")
    with pytest.raises(CommandError, match="continues in the background") as failed:
        run("setup_metrics_scheduler")
    assert failed.value.returncode == 2
    assert cloud.effects.count("CloudScheduler.CreateJob") == 1


def test_a_setup_without_settings_is_one_sentence(cloud: LocalCloud):
    with pytest.raises(CommandError, match="PUBLIC_URL"):
        run("setup_cleanup_scheduler")


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_a_job_run_as_a_process_has_no_traceback():
    ended = subprocess.run(
        [sys.executable, "manage.py", "cleanup_gcs_artifacts"],
        # Without the fixture `cloud` the settings name a port that nobody answers.
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "ml_platform.tests.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "Artifact cleanup continues" in ended.stderr
    assert "Traceback" not in ended.stderr
