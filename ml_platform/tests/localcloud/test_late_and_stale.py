"""What lands late is held to its etag, and a stale read hides what is new, in every service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.cloud import run_v2, storage

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import PARENT

NAME = f"{PARENT}/services/ranker"


@pytest.fixture
def services(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> run_v2.ServicesClient:
    client: run_v2.ServicesClient = client_of(run_v2.ServicesClient)
    return client


def _wanted(image: str) -> run_v2.Service:
    return run_v2.Service(name=NAME, template={"containers": [{"image": image}]})


def _create(services: run_v2.ServicesClient) -> run_v2.Service:
    made: run_v2.Service = services.create_service(
        parent=PARENT, service=run_v2.Service(template=_wanted("a").template), service_id="ranker"
    ).result()
    return made


@pytest.mark.parametrize("changed", [True, False])
def test_a_late_deletion_does_not_take_what_was_changed_meanwhile(
    cloud: LocalCloud, services: run_v2.ServicesClient, changed: bool
):
    etag = _create(services).etag
    cloud.clock.freeze()
    cloud.faults.order("Services.DeleteService", "late", seconds=60)
    operation = services.delete_service({"name": NAME, "etag": etag})
    assert not operation.done()
    if changed:
        services.update_service(service=_wanted("b")).result()
    cloud.clock.advance(61)
    left = [service.name for service in services.list_services(parent=PARENT)]
    assert left == ([NAME] if changed else [])


def test_a_stale_listing_of_objects_hides_what_is_new(cloud: LocalCloud, gcs: storage.Client):
    cloud.clock.freeze()
    bucket = gcs.create_bucket("stale-bucket")
    bucket.blob("old").upload_from_string(b"x")
    cloud.clock.advance(100)
    bucket.blob("new").upload_from_string(b"x")
    cloud.faults.order("storage.objects.list", "stale", seconds=50, times=2)
    assert [blob.name for blob in gcs.list_blobs(bucket)] == ["old"]
    cloud.clock.advance(60)
    assert [blob.name for blob in gcs.list_blobs(bucket)] == ["new", "old"]
    cloud.clock.advance(-60)
    cloud.faults.clear()
    assert [blob.name for blob in gcs.list_blobs(bucket)] == ["new", "old"]


def test_a_stale_read_of_an_object_does_not_find_what_is_new(
    cloud: LocalCloud, gcs: storage.Client
):
    cloud.clock.freeze()
    bucket = gcs.create_bucket("stale-bucket")
    bucket.blob("new").upload_from_string(b"x")
    cloud.faults.order("storage.objects.get", "stale", seconds=50)
    assert not bucket.blob("new").exists(retry=None)
    assert bucket.blob("new").exists(retry=None)
