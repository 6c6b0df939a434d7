"""Any bytes at all get whole answers from the HTTP port, none of them our own fault."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import PARENT
from ml_platform.tests.localcloud.test_http_limits import HOST, talk

PATHS = [
    "/",
    "/token",
    "/console/delete",
    "/storage/v1/b?project=demo-project",
    "/storage/v1/b/artifacts/o/kept?alt=media",
    "/upload/storage/v1/b/artifacts/o?uploadType=multipart",
    "/upload/storage/v1/b/artifacts/o?uploadType=resumable&name=x",
    "/batch/storage/v1",
    "/artifacts/kept",
    "/artifacts?list-type=2&marker=%00",
    "/artifacts/kept?GoogleAccessId=a%40b&Expires=999999999999&Signature=eA==",
    "/artifacts/kept?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Date=99991231T235959Z"
    "&X-Goog-Credential=a%2F20261130%2Fauto%2Fstorage%2Fgoog4_request&X-Goog-Expires=604800"
    "&X-Goog-SignedHeaders=host&X-Goog-Signature=00",
    "/_localcloud/faults",
    "/_localcloud/clock",
    "/_localcloud/seed/model",
    f"/v1/{PARENT}/models:upload",
    f"/v1/{PARENT}/models?pageSize=1",
    f"/v2/{PARENT}/services?serviceId=web",
    f"/v1/{PARENT}/jobs",
    "/v3/projects/demo-project/timeSeries?interval.endTime=x",
]
HEADERS = st.sampled_from(
    [
        b"Content-Length: 1",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Content-Encoding: gzip",
        b"Content-Type: multipart/related; boundary=x",
        b"Content-Type: application/x-www-form-urlencoded",
        b"X-HTTP-Method-Override: GET",
        b"Range: bytes=0-0",
        b"Content-Range: bytes 0-1/*",
        b"Connection: close",
        b"Host: [::1]",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["model", "displayName", "name", "labels", "parts", "method", "kind"])
            | st.text(max_size=5),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
BODIES = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())


@st.composite
def requests_of_any_kind(draw: st.DrawFn) -> bytes:
    """A request, often nearly a good one, with some of its bytes replaced."""
    verb = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"X"]))
    path = draw(st.sampled_from(PATHS)) + draw(st.sampled_from(["", "&a=%00", "%2F", "/\x7f"]))
    sent = draw(BODIES)
    lines = [verb + b" " + path.encode() + b" HTTP/1.1", HOST.strip()]
    lines += draw(st.lists(HEADERS, max_size=3) | st.just([b"Content-Length: %d" % len(sent)]))
    whole = bytearray(b"\r\n".join([*lines, b"", sent]))
    for at, byte in draw(
        st.dictionaries(st.integers(0, 999), st.integers(0, 255), max_size=2)
    ).items():
        whole[at % len(whole)] = byte
    return bytes(whole)


@settings(
    max_examples=1200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sent=st.binary(max_size=80) | requests_of_any_kind())
def test_every_sequence_of_bytes_gets_whole_answers_and_none_is_our_fault(
    cloud: LocalCloud, capfd: pytest.CaptureFixture[str], sent: bytes
) -> None:
    found = talk(cloud, sent)
    assert found or not sent.strip(b"\r\n"), sent
    for status, text in found:
        assert status in {501, 505} or status < 500, (sent, text)
    assert capfd.readouterr().err == ""
