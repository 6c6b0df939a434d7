"""Text that PostgreSQL cannot keep stops nobody: it is shown with U+FFFD in its place.

An address is never altered: what cannot be written down is named and left alone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ml_platform.cloud import cloud_run
from ml_platform.cloud.types import ServiceSpec
from ml_platform.errors import storable
from ml_platform.models import Finding, MirroredModel, MirroredService
from ml_platform.models.clock import database_now
from ml_platform.services.cleanup.artifacts import clean_up_artifacts
from ml_platform.services.ownership.labels import labels_for
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.services.training.runs import submit_run
from ml_platform.tests.factories import LONG_AGO, ProjectFactory, TrainingRunFactory
from ml_platform.tests.soiled import soil_the_wire

from .installations import MARKER
from .training_tools import CloudClock, make_run, poll, settle, start_run
from .vertex_rows import managed
from .world import ANA, BUCKET, Clock, artifacts, write_artifact

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db


@pytest.mark.slow
def test_a_display_name_ends_no_sweep(cloud: LocalCloud) -> None:
    managed(cloud)
    cloud.models.seed("7", display_name="copy\0of a model", artifact_uri="gs://b/\0/x")
    for _ in range(2):
        done = sweep(actor=ANA, clock=database_now)
    assert (done.status, done.counts["vertex"]) == ("complete", 2)
    assert MirroredModel.objects.get(model_id="7").display_name == "copy\ufffdof a model"
    assert "copy\ufffdof a model" in Finding.objects.open().get().title


@pytest.mark.slow
def test_no_text_of_any_plane_ends_a_sweep(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    managed(cloud)
    cloud.models.seed("7", display_name="copy", labels={"team": "red"})
    spec = ServiceSpec(image="europe-docker.pkg.dev/serving:1", labels=labels_for(), env={"A": "b"})
    cloud_run.create_service("serving", spec)
    soil_the_wire(monkeypatch)
    for _ in range(2):
        done = sweep(actor=ANA, clock=database_now)
    assert done.status == "complete"
    assert MirroredModel.objects.get(model_id="7").labels == {"team\ufffd": "red\ufffd"}
    assert MirroredService.objects.get().uri.endswith("\ufffd")


def test_an_error_text_ends_its_operation(cloud: LocalCloud) -> None:
    clock = CloudClock(cloud)
    run = make_run(ProjectFactory.create(), clock)
    refused = "INVALID_ARGUMENT"
    cloud.faults.order("PipelineService.CreatePipelineJob", code=refused, message="no \0 here")
    operation = submit_run(run=run, actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    run.refresh_from_db()
    assert (operation.status, run.status) == ("failed", "failed")
    assert "no \ufffd here" in operation.error
    assert "no \ufffd here" in run.error


def test_what_a_pipeline_says_of_its_end_ends_its_run(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = CloudClock(cloud)
    cloud.pipelines.outcome("fail:train")
    run = start_run(ProjectFactory.create(), clock)
    clock.forward(100)
    soil_the_wire(monkeypatch, "message", "task_name")
    poll(clock)
    run.refresh_from_db()
    assert (run.status, run.stage) == ("failed", "train\ufffd")
    assert run.error.endswith("\ufffd")


def test_an_object_goes_with_its_run_whatever_its_name(cloud: LocalCloud) -> None:
    run = TrainingRunFactory.create(failed=True, finished_at=LONG_AGO)
    for name in ("metrics.json", "a\0b", "a\tb", "a\ufffdb"):
        write_artifact(cloud, run, name)
    result = clean_up_artifacts(days=7, actor=ANA, clock=Clock(database_now()))
    assert (result.runs, result.freed[0], artifacts(cloud, run)) == (1, 4, [])
    assert result.operation is not None
    assert result.operation.status == "succeeded"


@pytest.mark.parametrize("odd", ["nul\0here", "tab\there", "line\u007f"])
def test_a_folder_whose_name_no_database_keeps_goes_alone_and_ends_nothing(
    cloud: LocalCloud, odd: str
) -> None:
    """Its name is kept quoted, so that the folder whose name it would become when cleaned stays."""
    young = f"runs/{storable(odd)}-young/x"
    names = ["runs/a-stray/x", f"runs/{odd}/x", "runs/z-stray/x"]
    for name in names:
        cloud.storage.write(BUCKET, name, b"x")
    cloud.clock.advance(29 * 86400)
    cloud.storage.write(BUCKET, young, b"x")
    clock = Clock(cloud.clock.now() + timedelta(days=2))
    result = clean_up_artifacts(days=7, actor=ANA, clock=clock, delete_strays=True)
    assert result.operation is not None
    assert result.operation.status == "succeeded", result.operation.error
    assert cloud.storage.names(BUCKET, "runs/") == sorted([MARKER, young])
    assert result.strays_deleted == 3
