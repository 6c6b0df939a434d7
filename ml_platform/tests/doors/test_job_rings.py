"""What a ring of a job is answered: all done, a part, or nothing that could be asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ml_platform.cloud.names import PipelineJobName
from ml_platform.models import Operation, Sweep
from ml_platform.models.states import OperationStatus
from ml_platform.tests.factories import (
    LONG_AGO,
    DeployedEndpointFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    UserFactory,
    version_of,
)

from .api_tools import bearer, keeps_contract
from .test_webhooks import AUDIT, METRICS, ORPHANS, POLL, TICK, ring, ringing

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

__all__ = ["ringing"]  # a fixture

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


def test_an_audit_that_cannot_read_a_plane_says_why(ringing: str, cloud: LocalCloud):
    cloud.faults.order("ModelService.*", "error", code="PERMISSION_DENIED", times=None)
    answer = ring(AUDIT, ringing)
    assert (answer.status_code, answer.json()["status"]) == (200, "partial")
    output = answer.json()["output"]
    assert output.count("Vertex AI Model Registry refused access") == 1
    assert output.endswith("a plane could not be read.")


def test_an_audit_of_one_tick_reads_once_and_one_that_read_nothing_is_rung_again(
    ringing: str, cloud: LocalCloud
):
    cloud.storage.write("demo-artifacts", "a", b"")
    cloud.faults.order("*", "error", code="PERMISSION_DENIED", times=None)
    blind = ring(AUDIT, ringing, **TICK)
    keeps_contract(blind, AUDIT, "post")
    assert (blind.status_code, blind.json()["status"]) == (503, "error")
    assert "No plane could be read." in blind.json()["message"]
    assert Operation.objects.get().status == OperationStatus.FAILED
    cloud.faults.clear()
    for _ in range(2):
        assert ring(AUDIT, ringing, **TICK).json()["status"] == "success"
    assert (Sweep.objects.count(), Operation.objects.count()) == (2, 2)


def test_metrics_of_which_some_or_all_are_unknown_are_said_so_once(ringing: str, cloud: LocalCloud):
    lineage = RegisteredModelFactory.create()
    serving = {"registered_model": lineage, "run": version_of(lineage), "serving": True}
    for name in ("one", "two"):
        DeployedEndpointFactory.create(**serving, service_name=name, deployed_at=LONG_AGO)
    cloud.faults.order("MetricService.*", "error", code="PERMISSION_DENIED", times=2)
    blind = ring(METRICS, ringing, **TICK)
    keeps_contract(blind, METRICS, "post")
    assert (blind.status_code, blind.json()["status"]) == (503, "error")
    assert blind.json()["output"].count("Unknown: one") == 1
    cloud.faults.order("MetricService.*", "error", code="PERMISSION_DENIED", times=1)
    part = ring(METRICS, ringing, **TICK)
    assert (part.status_code, part.json()["status"]) == (200, "partial")
    assert part.json()["output"].count("one: ") == 1
    asked = cloud.effects.count("MetricService.*")
    moscow = {"X-CloudScheduler-ScheduleTime": "2026-03-01T07:00:00+03:00"}  # the same moment
    again = ring(METRICS, ringing, **moscow)
    assert again.json()["message"] == "Metrics collection completed"
    assert cloud.effects.count("MetricService.*") == asked
    assert Operation.objects.filter(kind="metrics").count() == 2


def test_a_poll_that_could_ask_about_nothing_is_rung_again(ringing: str, cloud: LocalCloud):
    name = PipelineJobName("demo-project", "europe-central2", "any")
    TrainingRunFactory.create(status="running", pipeline_job_name=str(name), submitted_at=LONG_AGO)
    cloud.faults.order("PipelineService.*", "error", code="PERMISSION_DENIED", times=None)
    answer = ring(POLL, ringing)
    keeps_contract(answer, POLL, "post")
    assert (answer.status_code, answer.json()["status"]) == (503, "error")
    assert answer.json()["output"].startswith("Unknown: ")


def test_of_many_lines_the_answer_says_how_many_it_left_out_and_the_log_has_all(
    ringing: str, caplog: pytest.LogCaptureFixture
):
    RegisteredModelFactory.create_batch(130)
    with caplog.at_level("INFO", logger="ml_platform.jobs"):
        output = ring(ORPHANS, ringing, **TICK).json()["output"]
    assert len([line for line in output.splitlines() if line.startswith("Deleted model-")]) == 100
    assert "… and 30 more lines in the log." in output
    said = [record for record in caplog.records if record.name == "ml_platform.jobs"]
    assert len(said) == 130
    operation = Operation.objects.get()
    assert (len(operation.data["lines"]), operation.data["lines_left_out"]) == (100, 30)
    root = bearer(UserFactory.create(is_superuser=True, is_staff=True))
    path = "/api/operations/{operation_id}/"
    shown = root.get(f"/api/operations/{operation.pk}/")
    keeps_contract(shown, path)
    assert shown.json()["lines"] == operation.data["lines"]
    assert shown.json()["lines_left_out"] == 30
    assert all(step["finished_at"].endswith("Z") for step in shown.json()["steps"])
