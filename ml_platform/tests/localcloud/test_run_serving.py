"""A Cloud Run service answers at its URL: by traffic and tags, and only to its invokers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from google.cloud import run_v2, scheduler_v1
from google.iam.v1 import iam_policy_pb2, policy_pb2

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import PARENT

NAME = f"{PARENT}/services/ranker"
LATEST, PINNED = (
    run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST,
    run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION,
)
SHOP = "shop@demo-project.iam.gserviceaccount.com"


@pytest.fixture
def services(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> run_v2.ServicesClient:
    """Google's Services client; the cloud is as new."""
    client: run_v2.ServicesClient = client_of(run_v2.ServicesClient)
    return client


@pytest.fixture
def http() -> Iterator[requests.Session]:
    """A browser."""
    with requests.Session() as session:
        yield session


def deploy(services: run_v2.ServicesClient, version: str = "1", **more: Any) -> run_v2.Service:
    """Roll out a version of `ranker`."""
    container = {"image": f"repo/serve:{version}", "env": [{"name": "MODEL", "value": version}]}
    template = {"containers": [container], "labels": {"version": version}}
    asked = run_v2.Service(name=NAME, template=template, **more)
    made: run_v2.Service = services.update_service(
        request={"service": asked, "allow_missing": True}
    ).result()
    return made


def allow(services: run_v2.ServicesClient, *members: str, **binding: Any) -> None:
    """Have exactly these members invoke it."""
    rule = {"role": "roles/run.invoker", "members": members, **binding}
    policy = policy_pb2.Policy(version=3, bindings=[rule])
    services.set_iam_policy(
        request=iam_policy_pb2.SetIamPolicyRequest(resource=NAME, policy=policy)
    )


def here(cloud: LocalCloud, url: str) -> str:
    """Where the local cloud serves a URL of Cloud Run."""
    return url.replace("https://", f"{cloud.http_url}/_run/")


def test_a_public_service_echoes_what_it_is_sent(
    cloud: LocalCloud, services: run_v2.ServicesClient, http: requests.Session
) -> None:
    service = deploy(services)
    allow(services, "allUsers")
    sent = {"instances": [[1.0, 2.0]]}
    for url in (service.uri, *service.urls):
        answer = http.post(here(cloud, url) + "/predict?top=3", json=sent)
        assert (answer.status_code, answer.headers["Content-Type"]) == (
            200,
            "application/json; charset=UTF-8",
        )
        assert answer.json() == {
            "service": "ranker",
            "revision": service.latest_ready_revision.rpartition("/")[2],
            "tag": "",
            "labels": {"version": "1"},
            "env": {"MODEL": "1"},
            "method": "POST",
            "path": "/predict",
            "query": {"top": "3"},
            "body": sent,
            "predictions": [[1.0, 2.0]],
        }
    # The header may be one that the service itself reads.
    got = http.get(here(cloud, service.uri), headers={"Authorization": "Basic 1"}).json()
    assert (got["method"], got["path"], got["body"]) == ("GET", "/", "")
    assert http.put(here(cloud, service.uri), data=b"\xff").json()["body"] == "\ufffd"


def test_requests_are_split_by_percent_and_a_tag_leads_to_its_revision(
    cloud: LocalCloud, services: run_v2.ServicesClient, http: requests.Session
) -> None:
    old = deploy(services, "1").latest_ready_revision.rpartition("/")[2]
    traffic = [
        {"type_": PINNED, "revision": old, "percent": 90},
        {"type_": LATEST, "percent": 10, "tag": "next"},
    ]
    service = deploy(services, "2", traffic=traffic)
    allow(services, "allUsers")
    url = here(cloud, service.uri)
    seen = Counter(http.get(url).json()["labels"]["version"] for _ in range(100))
    assert seen == {"1": 90, "2": 10}
    tagged = http.get(here(cloud, service.traffic_statuses[1].uri)).json()
    assert (tagged["tag"], tagged["env"]) == ("next", {"MODEL": "2"})
    missing = service.uri.replace("https://", "https://other---")
    assert http.get(here(cloud, missing)).status_code == 404


def test_a_revision_that_did_not_start_does_not_answer(
    cloud: LocalCloud, services: run_v2.ServicesClient, http: requests.Session
) -> None:
    service = deploy(services, "1")
    allow(services, "allUsers")
    cloud.run.outcome("ranker", "fail")
    with pytest.raises(Exception, match="failed to start"):
        deploy(services, "2")
    assert http.get(here(cloud, service.uri)).json()["env"] == {"MODEL": "1"}


def test_a_private_service_answers_only_its_invokers(
    cloud: LocalCloud, services: run_v2.ServicesClient, http: requests.Session
) -> None:
    """403 without credentials or without the role, 401 for a token that cannot be verified."""
    service = deploy(services)
    url = here(cloud, service.uri)
    refused = http.get(url)
    assert (refused.status_code, "does not have permission to get URL" in refused.text) == (
        403,
        True,
    )
    allow(services, f"serviceAccount:{SHOP}")
    good = cloud.identity.token(service.uri, SHOP)
    with LocalCloud() as stranger:
        forged = stranger.identity.token(service.uri, SHOP)
    tried = {
        good: 200,
        cloud.identity.token(f"{url}/predict", SHOP): 200,
        cloud.identity.token(service.urls[0], SHOP): 200,
        cloud.identity.token(service.uri, "other@demo-project.iam.gserviceaccount.com"): 403,
        cloud.identity.token("https://elsewhere.example", SHOP): 401,
        cloud.identity.token(service.uri + ".evil.example", SHOP): 401,
        cloud.identity.token(service.uri, SHOP, iat=1000, exp=2000): 401,
        forged: 401,
        "nonsense": 401,
    }
    for token, status in tried.items():
        answer = http.get(url, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == status
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    both = {"X-Serverless-Authorization": f"Bearer {good}", "Authorization": "Basic 1"}
    assert http.get(url, headers=both).status_code == 200


@pytest.mark.parametrize(
    ("member", "binding", "status"),
    [
        ("allAuthenticatedUsers", {}, 200),
        ("domain:demo-project.iam.gserviceaccount.com", {}, 200),
        (f"user:{SHOP}", {}, 200),
        (f"serviceAccount:{SHOP}", {"role": "roles/run.viewer"}, 403),
        (f"serviceAccount:{SHOP}", {"condition": {"expression": "true"}}, 403),
    ],
)
def test_who_an_invoker_is(
    cloud: LocalCloud,
    services: run_v2.ServicesClient,
    http: requests.Session,
    member: str,
    binding: dict[str, Any],
    status: int,
) -> None:
    service = deploy(services)
    allow(services, member, **binding)
    headers = {"Authorization": f"Bearer {cloud.identity.token(service.uri, SHOP)}"}
    assert http.get(here(cloud, service.uri), headers=headers).status_code == status
    assert http.get(here(cloud, service.uri)).status_code == 403


def test_the_check_of_invokers_can_be_off_and_audiences_custom(
    cloud: LocalCloud, services: run_v2.ServicesClient, http: requests.Session
) -> None:
    service = deploy(services, custom_audiences=["https://rank.example"])
    allow(services, f"serviceAccount:{SHOP}")
    headers = {"Authorization": f"Bearer {cloud.identity.token('https://rank.example', SHOP)}"}
    assert http.get(here(cloud, service.uri), headers=headers).status_code == 200
    deploy(services, invoker_iam_disabled=True)
    assert http.get(here(cloud, service.uri)).status_code == 200


@pytest.mark.parametrize(
    "more",
    [
        {"ingress": run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_ONLY},
        {"ingress": run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER},
        {"default_uri_disabled": True},
    ],
)
def test_a_service_that_is_not_reachable_is_not_found(
    cloud: LocalCloud,
    services: run_v2.ServicesClient,
    http: requests.Session,
    more: dict[str, Any],
) -> None:
    service = deploy(services, **more)
    allow(services, "allUsers")
    answer = http.get(here(cloud, service.uri))
    assert (answer.status_code, "was not found on this server" in answer.text) == (404, True)
    other = here(cloud, "https://nobody-0123456789.europe-central2.run.app")
    assert http.get(other).status_code == 404


def test_a_job_of_cloud_scheduler_calls_an_internal_service_with_its_token(
    cloud: LocalCloud, services: run_v2.ServicesClient, jobs: scheduler_v1.CloudSchedulerClient
) -> None:
    service = deploy(services, ingress=run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_ONLY)
    target = {
        "uri": here(cloud, service.uri) + "/refresh",
        "oidc_token": {"service_account_email": SHOP},
    }
    job = scheduler_v1.Job(name=f"{PARENT}/jobs/j", schedule="0 4 * * *", http_target=target)
    jobs.create_job(parent=PARENT, job=job)
    cloud.clock.advance(86400)
    allow(services, f"serviceAccount:{SHOP}")
    cloud.clock.advance(86400)
    assert [attempt.http_status for attempt in cloud.scheduler.attempts] == [403, 200]


def test_the_metadata_server_gives_a_token_that_opens_a_service(
    cloud: LocalCloud, services: run_v2.ServicesClient, http: requests.Session
) -> None:
    service = deploy(services)
    allow(services, f"serviceAccount:{cloud.identity.default_email}")
    token = http.get(
        f"{cloud.http_url}/computeMetadata/v1/instance/service-accounts/default/identity",
        params={"audience": service.uri},
        headers={"Metadata-Flavor": "Google"},
    ).text
    headers = {"Authorization": f"Bearer {token}"}
    assert http.get(here(cloud, service.uri), headers=headers).status_code == 200


def test_services_of_all_places_answer(
    cloud: LocalCloud, services: run_v2.ServicesClient, http: requests.Session
) -> None:
    cloud.declare({"other-project": 210987654321}, ["us-east1"])
    seen = set()
    for place in (PARENT, "projects/other-project/locations/us-east1"):
        asked = run_v2.Service(
            template={"containers": [{"image": "i", "env": [{"name": "P", "value": place}]}]},
            invoker_iam_disabled=True,
        )
        made = services.create_service(parent=place, service=asked, service_id="same").result()
        answer = http.get(here(cloud, made.uri)).json()
        assert (answer["service"], answer["env"]) == ("same", {"P": place})
        seen.add(made.uri)
    assert len(seen) == 2
