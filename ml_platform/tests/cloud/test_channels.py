"""Each call has a limit, a reason and observers; only reads are repeated; no client is stale."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from google.cloud.aiplatform_v1.services.model_service.pagers import ListModelsPager
from google.cloud.aiplatform_v1.types import ListModelsRequest, ListModelsResponse

from ml_platform.cloud import storage, vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.transport import channels
from ml_platform.cloud.transport.channels import request_reason, shared_retry_budget
from ml_platform.cloud.transport.methods import METHODS
from ml_platform.errors import (
    CloudAbsent,
    CloudRejected,
    CloudUnavailable,
    Misconfigured,
    OutcomeUnknown,
)
from ml_platform.localcloud import LocalCloud

NAME = ModelName("demo-project", "europe-central2", "7")


def list_all():
    return [model for page in vertex.list_models() for model in page]


def test_a_read_is_repeated_until_it_is_answered(cloud):
    cloud.models.seed("7", display_name="seven")
    cloud.faults.order("ModelService.GetModel", times=2)
    assert vertex.get_model(NAME).display_name == "seven"
    assert cloud.effects.count("ModelService.GetModel") == 3


def test_a_read_of_cloud_storage_is_repeated_too(cloud):
    cloud.storage.write("demo-artifacts", "a.txt", b"a")
    cloud.faults.order("storage.objects.get", times=2)
    assert storage.read_text("demo-artifacts", "a.txt", limit_bytes=1) == "a"
    assert cloud.effects.count("storage.objects.get") == 3


def test_an_effect_is_never_repeated(cloud):
    cloud.models.seed("7", display_name="seven")
    cloud.faults.order("ModelService.DeleteModel")
    with pytest.raises(OutcomeUnknown):
        vertex.delete_model(NAME)
    assert cloud.effects.count("ModelService.DeleteModel") == 1


@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "ABORTED"])
def test_a_read_that_met_something_else_is_not_repeated(cloud, code):
    cloud.faults.order("ModelService.GetModel", code=code, times=None)
    with pytest.raises((CloudUnavailable, CloudRejected)):
        vertex.get_model(NAME)
    assert cloud.effects.count("ModelService.GetModel") == 1


def test_repeating_ends(cloud, limits):
    limits(RETRY_TIMEOUT=0.5)
    cloud.faults.order("ModelService.GetModel", times=None)
    with pytest.raises(CloudUnavailable):
        vertex.get_model(NAME)
    assert 2 <= cloud.effects.count("ModelService.GetModel") <= 20


def test_a_retry_timeout_of_zero_never_repeats(cloud, limits):
    limits(RETRY_TIMEOUT=0.0)
    cloud.faults.order("*", times=None)
    for read in (
        lambda: vertex.get_model(NAME),
        lambda: storage.get_bucket("demo-artifacts"),
    ):
        with pytest.raises(CloudUnavailable):
            read()
    assert cloud.effects.count("*") == 2


def test_a_page_that_is_repeated_is_not_lost(cloud):
    for n in range(25):
        cloud.models.seed(f"m{n}", display_name=f"m{n}")
        cloud.storage.write("demo-artifacts", f"runs/1/{n}", b"x")
    cloud.faults.order("ModelService.ListModels", nth=2)
    cloud.faults.order("storage.objects.list", nth=2)
    models = [m for page in vertex.list_models(page_size=10) for m in page]
    objects = [
        o for page in storage.list_objects("demo-artifacts", "runs/1/", page_size=10) for o in page
    ]
    assert (len(models), len(objects)) == (25, 25)
    assert cloud.effects.count("ModelService.ListModels") == 4
    assert cloud.effects.count("storage.objects.list") == 4


def test_an_empty_page_with_a_token_is_not_the_end(monkeypatch):
    answers = [
        ListModelsResponse(models=[{"name": "a"}], next_page_token="1"),
        ListModelsResponse(next_page_token="2"),
        ListModelsResponse(models=[{"name": "b"}]),
    ]
    asked = []

    def send(request, **_):
        asked.append(request["page_token"])
        return ListModelsPager(send, ListModelsRequest(), answers[len(asked) - 1])

    monkeypatch.setattr(channels, "client", lambda _: SimpleNamespace(list_models=send))
    pages: Iterator[Any] = channels.rpc_pages("ModelService.ListModels", {})
    assert [[model.name for model in page.models] for page in pages] == [["a"], [], ["b"]]
    assert asked == ["", "1", "2"]


def test_the_reason_reaches_google_and_ends_with_its_block(cloud):
    cloud.storage.write("demo-artifacts", "a.txt", b"a")
    with request_reason("operation 1"):
        list_all()
        storage.read_text("demo-artifacts", "a.txt", limit_bytes=1)
        storage.delete_objects("demo-artifacts", [("a.txt", 1)])
        with request_reason("operation 2"):
            list_all()
        list_all()
    list_all()
    assert [call.reason for call in cloud.effects.calls("*")] == [
        "operation 1",
        "operation 1",
        "operation 1",
        "operation 2",
        "operation 1",
        "",
    ]


def test_each_thread_has_a_reason_of_its_own(cloud):
    with request_reason("operation 1"):
        thread = threading.Thread(target=list_all)
        thread.start()
        thread.join()
    assert [call.reason for call in cloud.effects.calls("*")] == [""]


@pytest.mark.parametrize("reason", ["a\nb: c", "é", "x" * 201])
def test_a_reason_that_fits_in_no_header_is_refused(reason):
    with pytest.raises(ValueError, match="header"), request_reason(reason):
        pass


def test_observers_hear_of_each_call_once_although_it_is_repeated(cloud, observed):
    cloud.models.seed("7", display_name="seven")
    cloud.faults.order("ModelService.GetModel", times=2)
    vertex.get_model(NAME)
    assert observed == ["ModelService.GetModel"]


def test_an_observer_that_raises_stops_the_call(cloud):
    def guard(method):
        raise RuntimeError(f"{method} inside a transaction")

    channels.before_call.append(guard)
    try:
        with pytest.raises(RuntimeError, match=r"ModelService\.GetModel inside a transaction"):
            vertex.get_model(NAME)
    finally:
        channels.before_call.remove(guard)
    assert cloud.effects.count("*") == 0


def test_a_method_outside_the_table_cannot_be_called(cloud):
    with pytest.raises(KeyError):
        channels.call("ModelService.ExportModel", lambda: None)
    assert "ModelService.ExportModel" not in METHODS


def test_a_mistake_of_ours_outside_the_call_passes_unchanged(cloud):
    def broken(*_):
        raise ZeroDivisionError

    for place in (lambda: channels.guarded(broken), lambda: observing(broken)):
        with place(), pytest.raises(ZeroDivisionError):
            channels.call("ModelService.DeleteModel", lambda: None)


@contextmanager
def observing(observer):
    channels.before_call.append(observer)
    try:
        yield
    finally:
        channels.before_call.remove(observer)


@pytest.mark.parametrize(
    ("method", "category"),
    [("ModelService.GetModel", CloudUnavailable), ("ModelService.DeleteModel", OutcomeUnknown)],
)
def test_whatever_googles_client_raises_is_unknown(cloud, method, category):
    def send():
        raise ZeroDivisionError

    with pytest.raises(CloudUnavailable) as error:
        channels.call(method, send)
    assert type(error.value) is category


def test_the_clients_are_made_once(cloud):
    assert channels.client("ModelService") is channels.client("ModelService")
    assert channels.storage_client() is channels.storage_client()


def test_a_changed_address_meets_no_stale_client(cloud, limits):
    cloud.models.seed("7", display_name="first")
    cloud.storage.write("demo-artifacts", "a.txt", b"first")
    assert [model.display_name for model in list_all()] == ["first"]
    assert storage.read_text("demo-artifacts", "a.txt", limit_bytes=9) == "first"
    with LocalCloud(project="demo-project", location="europe-central2") as other:
        other.models.seed("7", display_name="second")
        other.storage.write("demo-artifacts", "a.txt", b"second")
        limits(LOCAL_CLOUD=other.grpc_target, LOCAL_CLOUD_HTTP=other.http_url)
        assert [model.display_name for model in list_all()] == ["second"]
        assert storage.read_text("demo-artifacts", "a.txt", limit_bytes=9) == "second"


def test_a_child_process_uses_clients_of_its_own(cloud, monkeypatch):
    mine = channels.client("ModelService"), channels.storage_client()
    monkeypatch.setattr(os, "getpid", lambda: 4711)
    assert channels.client("ModelService") is not mine[0]
    assert channels.storage_client() is not mine[1]
    assert list_all() == []


def test_many_threads_share_one_client(cloud):
    cloud.models.seed("7", display_name="seven")
    made = []
    threads = [
        threading.Thread(target=lambda: made.append((channels.client("ModelService"), list_all())))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(client) for client, _ in made}) == 1
    assert [len(models) for _, models in made] == [1] * 16


def test_a_cloud_that_is_not_there_is_unavailable(limits):
    limits(LOCAL_CLOUD="127.0.0.1:9", LOCAL_CLOUD_HTTP="http://127.0.0.1:9", RETRY_TIMEOUT=0.0)
    with pytest.raises(CloudUnavailable) as grpc_error:
        list_all()
    with pytest.raises(CloudUnavailable) as http_error:
        storage.get_bucket("demo-artifacts")
    assert type(grpc_error.value) is type(http_error.value) is CloudUnavailable
    refused = "Connection refused at 127.0.0.1:9."
    assert str(grpc_error.value) == (
        "Vertex AI Model Registry could not be reached (ModelService.ListModels: UNAVAILABLE). "
        f"{refused}"
    )
    assert str(http_error.value) == (
        f"Cloud Storage could not be reached (storage.buckets.get: NOT_SENT). {refused}"
    )


def test_of_a_cloud_that_is_away_one_read_waits_and_the_others_ask_once(cloud, limits):
    limits(RETRY_TIMEOUT=1.0)
    cloud.models.seed("7", display_name="seven")
    with shared_retry_budget():
        cloud.faults.order("ModelService.GetModel", times=2)
        assert vertex.get_model(NAME).display_name == "seven", "an answer costs nothing"
        cloud.faults.order("*", times=None)
        with pytest.raises(CloudUnavailable):
            list_all()
        with pytest.raises(CloudUnavailable):
            storage.get_bucket("demo-artifacts")
    assert cloud.effects.count("ModelService.ListModels") >= 2
    assert cloud.effects.count("storage.buckets.get") == 1
    with pytest.raises(CloudUnavailable):
        storage.get_bucket("demo-artifacts")
    assert cloud.effects.count("storage.buckets.get") >= 3, "outside each has its own again"


def test_an_effect_that_was_never_sent_had_none(limits):
    limits(LOCAL_CLOUD_HTTP="http://127.0.0.1:9")
    with pytest.raises(CloudUnavailable) as error:
        storage.write_text("demo-artifacts", "a", "a")
    assert type(error.value) is CloudUnavailable


def test_missing_settings_are_said_before_anything_is_sent(cloud, limits):
    limits(PROJECT_ID="")
    with pytest.raises(Misconfigured, match="PROJECT_ID"):
        list_all()
    with pytest.raises(Misconfigured, match="PROJECT_ID"):
        storage.get_bucket("demo-artifacts")
    assert cloud.effects.count("*") == 0


@pytest.mark.parametrize(
    "name",
    [
        ModelName("demo-project", "us-central1", "7"),
        ModelName("other-project", "europe-central2", "7"),
        ModelName("123456789012", "us-central1", "7"),
    ],
)
def test_a_name_outside_our_project_and_location_is_not_asked_for(cloud, name):
    for send in (vertex.get_model, vertex.delete_model):
        with pytest.raises(CloudRejected) as error:
            send(name)
        assert not isinstance(error.value, CloudAbsent)
        assert error.value.code == "foreign_name"
    assert cloud.effects.count("*") == 0


def test_a_project_number_is_as_good_as_its_id(cloud):
    cloud.models.seed("7", display_name="seven")
    numbered = ModelName("123456789012", "europe-central2", "7")
    assert vertex.get_model(numbered) == vertex.get_model(NAME)


@pytest.mark.parametrize("wrong", ["PROJECT_ID", "LOCATION"])
def test_a_wrong_project_or_location_never_looks_like_an_empty_one(cloud, limits, wrong):
    cloud.models.seed("7", display_name="seven")
    limits(**{wrong: "another-place1"})
    with pytest.raises((CloudRejected, CloudUnavailable)) as error:
        list_all()
    assert not isinstance(error.value, CloudAbsent)
