"""The Retry Test API: orders for failures, carried out one by one."""

from __future__ import annotations

import pytest
import requests
from google.cloud.storage import Bucket, Client
from urllib3.exceptions import ProtocolError

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.storage_calls import B, call


@pytest.fixture
def bucket(gcs: Client) -> Bucket:
    """A bucket with one object, `a`."""
    made = gcs.create_bucket(B)
    made.blob("a").upload_from_string(b"hello")
    return made


def test_a_retry_test_is_made_shown_listed_and_deleted(cloud: LocalCloud) -> None:
    order = {"storage.buckets.list": ["return-503", "stall-for-1s-after-4K"]}
    made = call(cloud, "POST", "/retry_test", {"instructions": order}).json()
    assert (made["instructions"], made["completed"]) == (order, False)
    one = f"/retry_test/{made['id']}"
    buckets = "/storage/v1/b?project=demo-project"
    header = {"x-retry-test-id": made["id"]}
    assert call(cloud, "GET", buckets).status_code == 200
    assert call(cloud, "GET", buckets, headers=header).status_code == 503
    # An answer that is too short to be stalled leaves the instruction where it is.
    assert call(cloud, "GET", buckets, headers=header).status_code == 200
    assert call(cloud, "GET", one).json()["instructions"] == {
        "storage.buckets.list": ["stall-for-1s-after-4K"]
    }
    assert call(cloud, "GET", "/retry_tests").json()["retry_test"][0]["id"] == made["id"]
    assert call(cloud, "DELETE", one).status_code == 200
    assert call(cloud, "GET", one).status_code == 404
    assert call(cloud, "GET", buckets, headers=header).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"instructions": {"storage.buckets.list": ["explode"]}}, 400),
        ({"instructions": {"storage.nothing": ["return-503"]}}, 400),
        ({"instructions": {"storage.buckets.list": ["redirect-send-token-t"]}}, 501),
        ({"instructions": {"storage.buckets.list": ["return-503"]}, "transport": "GRPC"}, 501),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused(
    cloud: LocalCloud, body: object, status: int
) -> None:
    assert call(cloud, "POST", "/retry_test", body).status_code == status


def test_an_answer_is_cut_stalled_or_shortened_as_ordered(
    cloud: LocalCloud, bucket: Bucket
) -> None:
    cloud.storage.write(B, "big", b"x" * 2048)
    order = {
        "storage.objects.get": ["return-broken-stream-after-1K", "stall-for-0s-after-1K"],
        "storage.objects.insert": ["return-broken-stream-final-chunk-after-10B"],
    }
    made = call(cloud, "POST", "/retry_test", {"instructions": order}).json()
    header = {"x-retry-test-id": made["id"]}
    path = f"/storage/v1/b/{B}/o/big?alt=media"
    with call(cloud, "GET", path, headers=header, stream=True) as answer:
        assert answer.raw.read(1024) == b"x" * 1024
        with pytest.raises(ProtocolError):
            answer.raw.read(1)
    assert call(cloud, "GET", path, headers=header).content == b"x" * 2048
    begin = f"/upload/storage/v1/b/{B}/o?uploadType=resumable&name=b"
    url = call(cloud, "POST", begin, {}, headers=header).headers["Location"]
    assert len(requests.put(url, data=b"1", headers=header, timeout=5).content) == 10
    assert call(cloud, "GET", f"/retry_test/{made['id']}").json()["completed"] is True
    cloud.reset()
    assert call(cloud, "GET", "/retry_tests").json() == {"retry_test": []}
