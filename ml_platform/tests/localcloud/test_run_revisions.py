"""Cloud Run's revisions: read in pages, and deleted when they are retired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import run_v2

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.core.access.callers import access_token
from ml_platform.tests.localcloud.conftest import PARENT

NAME = f"{PARENT}/services/ranker"
LATEST, PINNED = (
    run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST,
    run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION,
)


@pytest.fixture
def services(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> run_v2.ServicesClient:
    """Google's Services client; the cloud is as new."""
    client: run_v2.ServicesClient = client_of(run_v2.ServicesClient)
    return client


@pytest.fixture
def revisions(client_of: Callable[[Any], Any]) -> run_v2.RevisionsClient:
    """Google's Revisions client."""
    client: run_v2.RevisionsClient = client_of(run_v2.RevisionsClient)
    return client


def rolled(services: run_v2.ServicesClient, count: int) -> list[str]:
    """Roll out that many revisions of `ranker`; their names, oldest first."""
    made = []
    for number in range(count):
        asked = run_v2.Service(
            name=NAME, template={"containers": [{"image": f"repo/serve:{number}"}]}
        )
        request = {"service": asked, "allow_missing": True}
        made.append(services.update_service(request=request).result().latest_created_revision)
    return made


def short(name: str) -> str:
    """The last part of a revision's name."""
    return name.rpartition("/")[2]


def test_revisions_are_listed_newest_first_in_pages(
    services: run_v2.ServicesClient, revisions: run_v2.RevisionsClient
) -> None:
    made = rolled(services, 3)
    pages = list(revisions.list_revisions(request={"parent": NAME, "page_size": 2}).pages)
    assert [[one.name for one in page.revisions] for page in pages] == [made[:0:-1], made[:1]]
    every = {"parent": f"{PARENT}/services/-", "page_size": 9999}
    assert len(list(revisions.list_revisions(request=every))) == 3
    with pytest.raises(exceptions.InvalidArgument, match=r"ListRevisionsRequest\.page_size"):
        revisions.list_revisions(request={"parent": NAME, "page_size": -1})


def test_a_retired_revision_is_deleted(
    cloud: LocalCloud, services: run_v2.ServicesClient, revisions: run_v2.RevisionsClient
) -> None:
    old, new = rolled(services, 2)
    with pytest.raises(exceptions.Aborted):
        revisions.delete_revision(request={"name": old, "etag": '"old"'})
    dry = revisions.delete_revision(request={"name": old, "validate_only": True}).result()
    assert (dry.name, len(list(revisions.list_revisions(parent=NAME)))) == (old, 2)
    etag = revisions.get_revision(name=old).etag
    gone = revisions.delete_revision(request={"name": old, "etag": etag}).result()
    assert (gone.name, bool(gone.delete_time)) == (old, True)
    assert cloud.effects.mutations()[-1].resource == old
    assert [one.name for one in revisions.list_revisions(parent=NAME)] == [new]
    for call in (revisions.get_revision, revisions.delete_revision):
        with pytest.raises(exceptions.NotFound):
            call(name=old)


def test_a_revision_in_use_is_not_deleted(
    cloud: LocalCloud, services: run_v2.ServicesClient, revisions: run_v2.RevisionsClient
) -> None:
    first, second, third = rolled(services, 3)
    service = services.get_service(name=NAME)
    service.traffic = [
        run_v2.TrafficTarget(type_=PINNED, revision=short(first), percent=100),
        run_v2.TrafficTarget(type_=PINNED, revision=short(second), tag="old"),
    ]
    services.update_service(service=service).result()
    for name in (first, second, third):
        with pytest.raises(exceptions.FailedPrecondition, match=short(name)):
            revisions.delete_revision(name=name)
    cloud.run.outcome("ranker", "fail")
    service = services.get_service(name=NAME)
    service.traffic = [run_v2.TrafficTarget(type_=LATEST, percent=100)]
    service.template.containers[0].image = "repo/serve:broken"
    with pytest.raises(exceptions.FailedPrecondition):
        services.update_service(service=service).result()
    failed = services.get_service(name=NAME).latest_created_revision
    for name in (third, failed):
        with pytest.raises(exceptions.FailedPrecondition, match="latest"):
            revisions.delete_revision(name=name)


def test_services_and_revisions_say_who_made_them(
    cloud: LocalCloud, services: run_v2.ServicesClient, revisions: run_v2.RevisionsClient
) -> None:
    ana, bo = (f"{name}@demo-project.iam.gserviceaccount.com" for name in ("ana", "bo"))
    cloud.clock.freeze()
    cloud.faults.order("Services.*", "late", seconds=60, times=2)
    for number, account in enumerate((ana, bo)):
        asked = run_v2.Service(
            name=NAME, template={"containers": [{"image": f"repo/serve:{number}"}]}
        )
        services.update_service(
            request={"service": asked, "allow_missing": True},
            metadata=[("authorization", f"Bearer {access_token(account)}")],
        )
        cloud.clock.advance(60)
    service = services.get_service(name=NAME)
    assert (service.creator, service.last_modifier) == (ana, bo)
    assert [one.creator for one in revisions.list_revisions(parent=NAME)] == [bo, ana]
    rolled(services, 1)
    default = "123456789012-compute@developer.gserviceaccount.com"
    assert services.get_service(name=NAME).last_modifier == default
