"""The closed table: a failure's meaning depends on its class and code only."""

from __future__ import annotations

import concurrent.futures
import json
from typing import Any

import grpc
import pytest
import requests
import urllib3
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage.exceptions import DataCorruption
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo

from ml_platform.cloud.answers import Absent, Present, Unknown, ask
from ml_platform.cloud.transport import errors
from ml_platform.cloud.transport.codes import Unreadable
from ml_platform.cloud.transport.errors import from_http, from_status
from ml_platform.cloud.transport.methods import METHODS, Kind, plane
from ml_platform.errors import (
    CloudAbsent,
    CloudConflict,
    CloudDenied,
    CloudExists,
    CloudRejected,
    CloudThrottled,
    CloudUnavailable,
    Denied,
    Invalid,
    OutcomeUnknown,
)


def translate(error: Exception, method: str) -> Any:
    return errors.translate(error, method)


READ, EFFECT = "ModelService.GetModel", "ModelService.DeleteModel"

# gRPC code: category for a read, category for an effect
MEANINGS = {
    "NOT_FOUND": (CloudAbsent, CloudAbsent),
    "ALREADY_EXISTS": (CloudExists, CloudExists),
    "ABORTED": (CloudUnavailable, CloudConflict),
    "FAILED_PRECONDITION": (CloudConflict, CloudConflict),
    "INVALID_ARGUMENT": (CloudRejected, CloudRejected),
    "OUT_OF_RANGE": (CloudRejected, CloudRejected),
    "UNIMPLEMENTED": (CloudRejected, CloudRejected),
    "PERMISSION_DENIED": (CloudDenied, CloudDenied),
    "UNAUTHENTICATED": (CloudDenied, CloudDenied),
    "RESOURCE_EXHAUSTED": (CloudThrottled, CloudThrottled),
    "UNAVAILABLE": (CloudUnavailable, OutcomeUnknown),
    "DEADLINE_EXCEEDED": (CloudUnavailable, OutcomeUnknown),
    "CANCELLED": (CloudUnavailable, OutcomeUnknown),
    "UNKNOWN": (CloudUnavailable, OutcomeUnknown),
    "INTERNAL": (CloudUnavailable, OutcomeUnknown),
    "DATA_LOSS": (CloudUnavailable, OutcomeUnknown),
}
HTTP = {
    304: CloudConflict,
    400: CloudRejected,
    401: CloudDenied,
    403: CloudDenied,
    404: CloudAbsent,
    405: CloudRejected,
    408: CloudUnavailable,
    409: CloudUnavailable,
    410: CloudUnavailable,
    411: CloudRejected,
    412: CloudConflict,
    413: CloudRejected,
    416: CloudRejected,
    429: CloudThrottled,
    499: CloudUnavailable,
    500: CloudUnavailable,
    501: CloudRejected,
    502: CloudUnavailable,
    503: CloudUnavailable,
    504: CloudUnavailable,
}
"""What it means for a read."""
OF_AN_EFFECT = {409: CloudConflict, 410: CloudConflict}
"""What differs for an effect, beside that its outcome is unknown."""


def test_every_code_of_grpc_but_ok_has_a_meaning():
    assert set(MEANINGS) == {code.name for code in grpc.StatusCode} - {"OK"}


@pytest.mark.parametrize("code", MEANINGS)
def test_a_grpc_code_means_one_thing_for_a_read_and_one_for_an_effect(code):
    error = api.from_grpc_status(grpc.StatusCode[code], "some text")
    assert type(translate(error, READ)) is MEANINGS[code][0]
    assert type(translate(error, EFFECT)) is MEANINGS[code][1]


@pytest.mark.parametrize("code", MEANINGS)
def test_the_text_of_an_error_decides_nothing(code):
    for text in ("", "NOT_FOUND", "The Model does not exist.", "404 permission denied"):
        error = api.from_grpc_status(grpc.StatusCode[code], text)
        assert type(translate(error, READ)) is MEANINGS[code][0]


def http_error(status, headers=None):
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers or {})
    response._content = json.dumps({"error": {"message": "why"}}).encode()
    response.request = requests.Request("GET", "http://localhost/").prepare()
    return api.from_http_response(response)


@pytest.mark.parametrize("status", HTTP)
def test_a_status_of_cloud_storage_has_a_meaning(status):
    assert type(translate(http_error(status), "storage.objects.get")) is HTTP[status]
    unknown = OutcomeUnknown if HTTP[status] is CloudUnavailable else HTTP[status]
    effect = OF_AN_EFFECT.get(status, unknown)
    body = json.dumps({"error": {"message": "why"}})
    assert type(from_http("ModelService.DeleteModel", status, body)) is effect


PAGE = "<html><body><h1>Not Found</h1></body></html>"


@pytest.mark.parametrize("status", [*HTTP, 100, 103, 302, 307, 402, 407, 418, 425, 451, 520, 599])
@pytest.mark.parametrize("body", ["", PAGE, "[]", "{}", '{"error": "x"}', "\x00", "[" * 20_000])
def test_a_page_that_is_not_googles_proves_nothing(status, body):
    read = type(from_http("storage.objects.list", status, body))
    effect = type(from_http("ModelService.DeleteModel", status, body))
    assert (read, effect) == (CloudUnavailable, OutcomeUnknown)


@pytest.mark.parametrize("status", [100, 103, 302, 307, 308, 402, 407, 418, 425, 451, 520, 599])
def test_a_status_that_is_in_no_table_is_unknown(status):
    for method, category in (
        ("storage.objects.list", CloudUnavailable),
        ("storage.objects.insert", OutcomeUnknown),
    ):
        assert type(translate(http_error(status), method)) is category


@pytest.mark.parametrize("code", MEANINGS)
def test_an_operation_that_ended_in_an_error_is_an_effect(code):
    error = from_status(EFFECT, grpc.StatusCode[code].value[0], "why")
    assert type(error) is MEANINGS[code][1]
    assert str(error).endswith("why")


@pytest.mark.parametrize("code", [0, 17, 99, -1])
def test_a_status_without_a_known_code_leaves_the_outcome_unknown(code):
    assert type(from_status(EFFECT, code, "")) is OutcomeUnknown


def test_not_found_of_a_parent_says_nothing_of_what_is_in_it():
    error = api.NotFound("The Location does not exist.")
    for method, kind in METHODS.items():
        ours = translate(error, method)
        if kind in (Kind.GET, Kind.CHANGE):
            assert type(ours) is CloudAbsent, method
        else:
            assert (type(ours), ours.code) == (CloudRejected, "parent_not_found"), method


POOL = urllib3.HTTPConnectionPool("localhost")


def refused():
    connection = urllib3.connection.HTTPConnection("localhost")
    cause = urllib3.exceptions.NewConnectionError(connection, "refused")
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(POOL, "/", cause))


def reset():
    return requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted."))


class Bare(grpc.RpcError):
    def code(self):
        return grpc.StatusCode.PERMISSION_DENIED


SLOW = urllib3.exceptions.ReadTimeoutError(POOL, "/", "slow")

# what was raised: category for a read, category for an effect
RAISED = [
    (refused(), CloudUnavailable, CloudUnavailable),
    (reset(), CloudUnavailable, OutcomeUnknown),
    (requests.ConnectTimeout(), CloudUnavailable, CloudUnavailable),
    (requests.ReadTimeout(), CloudUnavailable, OutcomeUnknown),
    (requests.exceptions.ChunkedEncodingError(), CloudUnavailable, OutcomeUnknown),
    (requests.exceptions.ContentDecodingError(), CloudUnavailable, OutcomeUnknown),
    (requests.exceptions.JSONDecodeError("no", "", 0), CloudUnavailable, OutcomeUnknown),
    (urllib3.exceptions.ProtocolError("gone"), CloudUnavailable, OutcomeUnknown),
    (urllib3.exceptions.ReadTimeoutError(POOL, "/", "slow"), CloudUnavailable, OutcomeUnknown),
    (ConnectionRefusedError(), CloudUnavailable, CloudUnavailable),
    (ConnectionResetError(), CloudUnavailable, OutcomeUnknown),
    (concurrent.futures.TimeoutError(), CloudUnavailable, OutcomeUnknown),
    (grpc.FutureTimeoutError(), CloudUnavailable, OutcomeUnknown),
    (Bare(), CloudDenied, CloudDenied),
    (DataCorruption(None, "crc"), CloudUnavailable, OutcomeUnknown),
    (auth.DefaultCredentialsError("none"), CloudUnavailable, CloudUnavailable),
    (auth.RefreshError("revoked"), CloudUnavailable, CloudUnavailable),
    (requests.TooManyRedirects("0"), CloudUnavailable, OutcomeUnknown),
    (Unreadable("no kind"), CloudUnavailable, OutcomeUnknown),
    (requests.ConnectionError(SLOW), CloudUnavailable, OutcomeUnknown),
    (auth.TransportError("no token server"), CloudUnavailable, CloudUnavailable),
    (api.RetryError("late", api.ServiceUnavailable("x")), CloudUnavailable, OutcomeUnknown),
    (api.RetryError("late", api.NotFound("x")), CloudAbsent, CloudAbsent),
]


@pytest.mark.parametrize(("error", "read", "effect"), RAISED, ids=lambda e: type(e).__name__)
def test_a_lost_connection_is_told_from_one_that_never_was(error, read, effect):
    assert type(translate(error, READ)) is read
    assert type(translate(error, EFFECT)) is effect


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("x"),
        TypeError(),
        AssertionError(),
        RuntimeError(),
        OSError(28, ""),
        AttributeError("'list' object has no attribute 'get'"),
        requests.RequestException("new"),
        api.RetryError("late", None),
    ],
)
def test_what_is_in_no_table_is_unknown_and_logged_with_its_place(error, caplog):
    for method, category in ((READ, CloudUnavailable), (EFFECT, OutcomeUnknown)):
        ours = translate(error, method)
        assert type(ours) is category
        assert "cannot be read: " + type(error).__name__ in str(ours)
    assert [record.exc_info[1] for record in caplog.records] == [error, error]


def test_a_failure_that_is_in_the_table_is_not_logged(caplog):
    for error, _, _ in RAISED:
        translate(error, READ)
    assert caplog.records == []


def test_without_credentials_the_advice_says_what_to_do():
    error = translate(auth.DefaultCredentialsError("None found."), READ)
    assert error.code == "no_credentials"
    assert "GOOGLE_APPLICATION_CREDENTIALS" in error.advice


def test_the_time_to_wait_is_read_from_the_details_or_the_header():
    details = [RetryInfo(retry_delay=Duration(seconds=7, nanos=500_000_000))]
    error = api.ResourceExhausted("quota", details=details)
    assert translate(error, READ).retry_after == 7.5
    assert translate(api.ResourceExhausted("quota"), READ).retry_after == 0
    assert translate(http_error(429, {"Retry-After": "12"}), READ).retry_after == 12
    for given in ("tomorrow", "-1", "²"):
        assert translate(http_error(429, {"Retry-After": given}), READ).retry_after == 0


def test_the_time_to_wait_is_at_most_an_hour():
    details = [RetryInfo(retry_delay=Duration(seconds=1 << 60))]
    assert translate(api.ResourceExhausted("quota", details=details), READ).retry_after == 3600
    assert translate(http_error(429, {"Retry-After": "9" * 400}), READ).retry_after == 3600


def test_a_sentence_names_the_plane_and_the_call_and_ends_in_what_google_said():
    error = translate(api.PermissionDenied("Missing\n role\tx."), "Services.ListServices")
    assert str(error) == (
        "Cloud Run refused access (Services.ListServices: PERMISSION_DENIED). Missing role x."
    )
    assert "service account" in error.advice
    assert error.code == "cloud_denied"


def test_what_google_said_is_shown_although_the_call_was_repeated():
    error = translate(api.RetryError("late", api.ServiceUnavailable("Down for tea.")), READ)
    assert str(error).endswith("(ModelService.GetModel: UNAVAILABLE). Down for tea.")


def test_what_cloud_storage_said_is_taken_out_of_its_json():
    assert str(translate(http_error(403), "storage.objects.get")).endswith(
        "PERMISSION_DENIED). why"
    )


def test_an_endless_text_is_cut():
    assert len(str(translate(api.NotFound("x" * 100_000), READ))) < 1000


def test_every_method_belongs_to_a_plane():
    assert {plane(method) for method in METHODS} == {
        "Vertex AI Model Registry",
        "Vertex AI endpoints",
        "Vertex AI Pipelines",
        "Google's long-running operations",
        "Cloud Run",
        "Cloud Scheduler",
        "Cloud Monitoring",
        "Cloud Storage",
    }


def raising(error):
    def call():
        raise error

    return call


def test_only_an_answer_of_absence_is_absence():
    assert ask(lambda: 7) == Present(7)
    assert ask(lambda: None) == Present(None)
    assert ask(raising(CloudAbsent("gone"))) == Absent("gone")


@pytest.mark.parametrize(
    "kind",
    [
        CloudRejected,
        CloudExists,
        CloudConflict,
        CloudUnavailable,
        CloudThrottled,
        CloudDenied,
        OutcomeUnknown,
    ],
)
def test_every_other_failure_of_the_cloud_leaves_it_unknown(kind):
    assert ask(raising(kind("why"))) == Unknown("why", kind.code)


@pytest.mark.parametrize("error", [Invalid("x"), Denied("x"), KeyError("x"), ValueError("x")])
def test_a_mistake_of_ours_is_no_answer(error):
    with pytest.raises(type(error)):
        ask(raising(error))
