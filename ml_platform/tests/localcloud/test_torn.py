"""Answers of broken connections and proxies, operations that end otherwise, clocks that differ."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.cloud import storage
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.cloud.aiplatform_v1.types import Model

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import PARENT

INSERT, GET = "storage.objects.insert", "storage.objects.get"


@pytest.fixture
def bucket(gcs: storage.Client) -> storage.Bucket:
    return gcs.create_bucket("torn")


def url(cloud: LocalCloud, name: str = "a") -> str:
    return f"{cloud.http_url}/storage/v1/b/torn/o/{name}"


@pytest.fixture
def stored(cloud: LocalCloud, bucket: storage.Bucket) -> str:
    """The address of the metadata of an object."""
    cloud.storage.write("torn", "a", b"0123456789")
    return url(cloud)


@pytest.mark.parametrize("kind", ["reset", "truncated"])
def test_a_broken_connection_gives_no_answer(cloud: LocalCloud, stored: str, kind: Any) -> None:
    cloud.faults.order(GET, kind)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        requests.get(stored, timeout=5)
    assert requests.get(stored, timeout=5).json()["name"] == "a"


def test_a_truncated_answer_has_the_length_of_the_whole(cloud: LocalCloud, stored: str) -> None:
    cloud.faults.order(GET, "truncated")
    answer = requests.get(stored, params={"alt": "media"}, timeout=5, stream=True)
    assert answer.headers["Content-Length"] == "10"
    assert answer.raw.read(10, decode_content=False) == b"01234"


def test_a_dripping_answer_comes_a_byte_at_a_time(cloud: LocalCloud, stored: str) -> None:
    fault = cloud.faults.order(GET, "drip", seconds=60)
    answer = requests.get(stored, params={"alt": "media"}, timeout=5, stream=True)
    fault.release()
    assert answer.content == b"0123456789"


@pytest.mark.parametrize(
    ("order", "status", "body"),
    [
        ({"kind": "html"}, 502, b"<html>"),
        ({"kind": "html", "status": 200}, 200, b"<html>"),
        ({"kind": "empty"}, 200, b""),
        ({"kind": "non_object"}, 200, b"[]"),
        *[({"kind": "status", "status": code}, code, b"<html>") for code in (407, 418, 451, 520)],
    ],
)
def test_the_answer_of_a_proxy_comes_instead(
    cloud: LocalCloud, stored: str, order: dict[str, Any], status: int, body: bytes
) -> None:
    cloud.faults.order(GET, **order)
    answer = requests.get(stored, timeout=5)
    assert (answer.status_code, answer.content[:6]) == (status, body)


def test_redirects_without_end(cloud: LocalCloud, stored: str) -> None:
    cloud.faults.order(GET, "redirect", times=None)
    with pytest.raises(requests.TooManyRedirects):
        requests.get(stored, timeout=5)


@pytest.mark.parametrize("kind", ["reset", "empty", "status"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_torn_call_was_done_only_when_ordered_so(
    cloud: LocalCloud, bucket: storage.Bucket, kind: Any, when: Any
) -> None:
    status = 520 if kind == "status" else 0
    cloud.faults.order("storage.objects.delete", kind, when=when, status=status)
    cloud.storage.write("torn", "a", b"x")
    try:
        requests.delete(url(cloud), timeout=5)
    except requests.ConnectionError:
        assert kind == "reset"
    assert (cloud.effects.calls("storage.objects.delete")[0].outcome == "OK") is False
    assert (requests.get(url(cloud), timeout=5).status_code == 404) is (when == "after")


def test_the_whole_answer_of_a_batch_is_torn_with_one_part(
    cloud: LocalCloud, gcs: storage.Client, bucket: storage.Bucket
) -> None:
    cloud.storage.write("torn", "a", b"x")
    cloud.faults.order("storage.objects.delete", "status", status=502, times=None)
    with pytest.raises(exceptions.BadGateway), gcs.batch():
        bucket.delete_blob("a")


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ({"kind": "reset"}, exceptions.ServiceUnavailable),
        ({"kind": "html"}, exceptions.ServiceUnavailable),
        ({"kind": "empty"}, exceptions.Unknown),
        ({"kind": "status", "status": 404}, exceptions.MethodNotImplemented),
    ],
)
def test_a_client_of_grpc_gets_what_grpc_makes_of_it(
    cloud: LocalCloud, models: ModelServiceClient, order: dict[str, Any], error: Any
) -> None:
    cloud.faults.order("ModelService.ListModels", **order)
    with pytest.raises(error):
        models.list_models(parent=PARENT, retry=None)


@pytest.mark.parametrize(
    "order",
    [
        {"kind": "status"},
        {"kind": "status", "status": 200},
        {"kind": "empty", "status": 204},
        {"kind": "ripped"},
    ],
)
def test_a_torn_order_that_makes_no_sense_is_refused(
    cloud: LocalCloud, order: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"kind|status"):
        cloud.faults.order(GET, **order)


# ---- operations --------------------------------------------------------------------------------


@pytest.mark.parametrize(("when", "left"), [("before", 1), ("after", 0)])
def test_an_operation_ends_in_the_ordered_error(
    cloud: LocalCloud, models: ModelServiceClient, when: Any, left: int
) -> None:
    name = cloud.models.seed("ranker", display_name="ranker", versions=[1])
    cloud.faults.order("ModelService.DeleteModel", "fails", "INTERNAL", "Out of luck.", when=when)
    with pytest.raises(exceptions.InternalServerError, match="Out of luck"):
        models.delete_model(name=name).result(timeout=5)
    assert len(list(models.list_models(parent=PARENT))) == left


@pytest.mark.parametrize(("when", "left"), [("before", 1), ("after", 0)])
def test_an_operation_never_ends(
    cloud: LocalCloud, models: ModelServiceClient, when: Any, left: int
) -> None:
    name = cloud.models.seed("ranker", display_name="ranker", versions=[1])
    cloud.faults.order("ModelService.DeleteModel", "never", when=when)
    operation = models.delete_model(name=name)
    operation.cancel()
    cloud.clock.advance(timedelta(days=400).total_seconds())
    assert operation.done() is False
    assert len(list(models.list_models(parent=PARENT))) == left


# ---- clocks ------------------------------------------------------------------------------------


def test_the_clock_of_one_plane_is_behind_the_others(
    cloud: LocalCloud, models: ModelServiceClient, bucket: storage.Bucket
) -> None:
    cloud.clock.freeze()
    now = cloud.clock.now()
    cloud.clock.skew("storage.*", -300)
    bucket.blob("a").upload_from_string(b"x")
    created = bucket.get_blob("a").time_created
    model = Model(display_name="ranker")
    name = models.upload_model(parent=PARENT, model=model).result(timeout=5).model
    assert abs(now - timedelta(seconds=300) - created) < timedelta(seconds=1)
    assert abs(now - models.get_model(name=name).create_time) < timedelta(seconds=1)
    cloud.clock.skew("storage.*", 0)
    bucket.blob("b").upload_from_string(b"x")
    assert abs(now - bucket.get_blob("b").time_created) < timedelta(seconds=1)


def test_a_timer_of_a_skewed_service_comes_after_the_time_that_was_asked(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    """Its times are those of its own clock, also when an operation ends later."""
    cloud.clock.freeze()
    name = cloud.models.seed("ranker", display_name="ranker", versions=[1])
    cloud.clock.skew("ModelService.*", 3600)
    cloud.faults.order("ModelService.DeleteModel", "late", seconds=60)
    operation = models.delete_model(name=name)
    cloud.clock.advance(59)
    assert operation.done() is False
    cloud.clock.advance(1)
    assert operation.done() is True


def test_faults_and_clocks_are_set_from_another_process(cloud: LocalCloud, stored: str) -> None:
    post: Callable[[str, Any], requests.Response] = lambda path, body: requests.post(  # noqa: E731
        f"{cloud.http_url}/_localcloud/{path}", json=body, timeout=5
    )
    assert post("clock", {"skew": {"storage.*": -300}}).status_code == 200
    made = post("faults", {"method": GET, "kind": "status", "status": 418})
    assert made.json()["status"] == 418
    assert requests.get(stored, timeout=5).status_code == 418
