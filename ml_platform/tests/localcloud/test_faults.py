"""Misfortune on order, seen from the client's side."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.core.call_log import Call
from ml_platform.tests.localcloud.conftest import PARENT

UPLOAD = {"parent": PARENT, "model_id": "ranker", "model": {"display_name": "ranker"}}


def names(client: ModelServiceClient) -> list[str]:
    """Display names of all models."""
    return [model.display_name for model in client.list_models(parent=PARENT)]


def eventually(holds: Any) -> bool:
    """Whether it comes true within ten seconds."""
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(holds())


def test_an_error_refuses_the_call_before_it_is_done(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    fault = cloud.faults.order("ModelService.Upload*", "error", "PERMISSION_DENIED", "Not you.")
    with pytest.raises(exceptions.PermissionDenied, match="Not you"):
        models.upload_model(UPLOAD)
    assert (names(models), fault.hits, cloud.effects.mutations()) == ([], 1, [])
    models.upload_model(UPLOAD).result()
    assert names(models) == ["ranker"]


def test_a_lost_answer_was_done_all_the_same(cloud: LocalCloud, models: ModelServiceClient) -> None:
    cloud.faults.order("ModelService.UploadModel", "lost", "CANCELLED")
    with pytest.raises(exceptions.Cancelled):
        models.upload_model(UPLOAD)
    assert names(models) == ["ranker"]
    (call,) = cloud.effects.mutations()
    assert (call.outcome, call.mutating) == ("CANCELLED", True)


def test_nth_and_times_choose_the_calls_that_are_hit(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    cloud.faults.order("ModelService.ListModels", nth=2, times=2)
    outcomes = []
    for _ in range(5):
        try:
            models.list_models(parent=PARENT)
        except exceptions.ServiceUnavailable:
            outcomes.append("unavailable")
        else:
            outcomes.append("ok")
    assert outcomes == ["ok", "unavailable", "unavailable", "ok", "ok"]
    assert [call.outcome for call in cloud.effects.calls()] == [
        "OK",
        "UNAVAILABLE",
        "UNAVAILABLE",
        "OK",
        "OK",
    ]


def test_a_fault_without_end_ends_when_it_is_cleared(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    cloud.faults.order("ModelService.*", times=None)
    for _ in range(3):
        with pytest.raises(exceptions.ServiceUnavailable):
            models.list_models(parent=PARENT)
    cloud.faults.clear("ModelService.ListModels")
    assert len(cloud.faults.orders()) == 1, "only the very glob that was ordered is withdrawn"
    cloud.faults.clear("ModelService.*")
    assert names(models) == []


@pytest.mark.parametrize(("when", "left"), [("before", []), ("after", ["ranker"])])
def test_a_hung_call_whose_client_gives_up_is_undone_or_done_as_ordered(
    cloud: LocalCloud, models: ModelServiceClient, when: Any, left: list[str]
) -> None:
    cloud.faults.order("ModelService.UploadModel", "hang", when=when)
    with pytest.raises(exceptions.DeadlineExceeded):
        models.upload_model(UPLOAD, timeout=0.2)
    (call,) = cloud.effects.calls("ModelService.UploadModel")
    assert eventually(lambda: call.outcome == "CANCELLED")
    assert names(models) == left


def test_a_hung_call_goes_on_when_it_is_released(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    fault = cloud.faults.order("ModelService.UploadModel", "hang")
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(models.upload_model(UPLOAD)))
    thread.start()
    assert eventually(lambda: fault.hits == 1)
    assert names(models) == [], "a hung call holds up nobody else"
    fault.release()
    thread.join(10)
    assert (len(done), names(models)) == (1, ["ranker"])


def test_a_delay_passes(cloud: LocalCloud, models: ModelServiceClient) -> None:
    cloud.faults.order("ModelService.ListModels", "delay", seconds=0.5)
    with pytest.raises(exceptions.DeadlineExceeded):
        models.list_models(parent=PARENT, timeout=0.1)
    assert names(models) == []


def test_stale_reads_do_not_see_what_was_just_born(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    cloud.clock.freeze()
    models.upload_model(UPLOAD).result()
    cloud.clock.advance(50)
    parent = f"{PARENT}/models/ranker"
    models.upload_model({"parent": PARENT, "parent_model": parent, "model": UPLOAD["model"]})
    cloud.faults.order("ModelService.*", "stale", seconds=30, times=2)
    assert [v.version_id for v in models.list_model_versions(name=parent)] == ["1"]
    assert names(models) == ["ranker"]
    cloud.faults.order("ModelService.*", "stale", seconds=100, times=2)
    assert names(models) == []
    with pytest.raises(exceptions.NotFound):
        models.get_model(name=parent)
    assert names(models) == ["ranker"]


def test_a_judge_sees_each_change_before_its_answer_is_sent(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    seen: list[tuple[str, str, bool]] = []

    def judge(call: Call) -> None:
        seen.append((call.method, call.outcome, call.mutating))

    leave = cloud.effects.subscribe(judge)
    models.upload_model(UPLOAD).result()
    models.list_models(parent=PARENT)
    assert seen == [("ModelService.UploadModel", "PENDING", True)]
    leave()
    models.delete_model(name=f"{PARENT}/models/ranker").result()
    assert len(seen) == 1


def test_a_call_that_changes_several_things_is_one_mutation(cloud: LocalCloud) -> None:
    def change_two() -> None:
        cloud.effects.record("one")
        cloud.effects.record("two")

    cloud.core.gate("Some.Method", None, change_two)
    assert [call.resource for call in cloud.effects.mutations()] == ["two"]


@pytest.mark.parametrize(
    "order",
    [
        {"kind": "explode"},
        {"code": "NO_SUCH"},
        {"nth": 0},
        {"times": 0},
        {"seconds": -1},
        {"when": "never"},
    ],
)
def test_an_order_that_makes_no_sense_is_refused(cloud: LocalCloud, order: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        cloud.faults.order("ModelService.*", **order)
    assert cloud.faults.orders() == []


@pytest.mark.parametrize(
    ("glob", "says"),
    [
        ("ModelService.UplodModel", "Near it: ModelService.UploadModel"),
        ("ModelServices.*", "Near it: ModelService."),
        ("UploadModel", "Near it: ModelService.UploadModel"),
        ("zzz", "There are CloudScheduler.*, EndpointService.*, "),
    ],
)
def test_a_fault_for_a_method_that_is_not_served_is_refused(
    cloud: LocalCloud, glob: str, says: str
) -> None:
    with pytest.raises(ValueError, match=f"No method matches '{re.escape(glob)}'") as refused:
        cloud.faults.order(glob)
    assert says in str(refused.value)
    assert cloud.faults.orders() == []


def test_a_fault_may_be_ordered_before_the_cloud_starts() -> None:
    assert LocalCloud().faults.order("ModelService.ListModels").nth == 1


def test_quotas_are_those_of_vertex_and_a_minute_later_there_is_room_again() -> None:
    with LocalCloud(quotas=True) as cloud:
        cloud.clock.freeze()
        gate, done = cloud.core.gate, list[str]()
        for method, limit in (("ModelService.DeleteModel", 60), ("ModelService.GetModel", 600)):
            for _ in range(limit):
                gate(method, None, lambda: done.append("x"))
            with pytest.raises(Exception, match=r"Quota exceeded for quota metric"):
                gate(method, None, lambda: done.append("x"))
            gate("storage.objects.get", None, lambda: None)
            cloud.clock.advance(60)
            gate(method, None, lambda: None)
        assert len(done) == 660
