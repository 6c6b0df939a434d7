"""The console page and the control API: what people and other processes steer the cloud with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.cloud import run_v2, scheduler_v1, storage
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import NUMBERED, PARENT

MODEL = f"{NUMBERED}/models/42"
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def api(cloud: LocalCloud) -> Callable[..., Any]:
    """`api("POST", "clock", advance=1)`: a call of the control API, its JSON answer."""

    def call(verb: str, path: str, status: int = 200, **body: Any) -> Any:
        url = f"{cloud.http_url}/_localcloud/{path}"
        answer = requests.request(verb, url, json=body if verb == "POST" else None, timeout=5)
        assert answer.status_code == status, answer.text
        return answer.json()

    return call


def press(cloud: LocalCloud, kind: str, name: str, **headers: str) -> requests.Response:
    """Press a delete button, as a browser does."""
    return requests.post(
        f"{cloud.http_url}/console/delete",
        data={"kind": kind, "name": name},
        headers={"Origin": cloud.http_url} | headers,
        allow_redirects=False,
        timeout=5,
    )


def furnish(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> None:
    """One of everything the page lists."""
    cloud.models.seed("42", display_name="ranker", versions=[1, 2], labels={"team": "ml"})
    cloud.storage.write("artifacts", "runs/1/model", b"12345")
    template = {"containers": [{"image": "repo/serve"}]}
    client_of(run_v2.ServicesClient).create_service(
        parent=PARENT, service=run_v2.Service(template=template), service_id="serve-ranker"
    )
    client_of(scheduler_v1.CloudSchedulerClient).create_job(
        parent=PARENT,
        job=scheduler_v1.Job(
            name=f"{PARENT}/jobs/nightly",
            schedule="0 4 * * *",
            http_target={"uri": "http://127.0.0.1:9/hook"},
        ),
    )


# the page


def test_the_page_lists_everything_and_loads_nothing_from_elsewhere(
    cloud: LocalCloud, client_of: Callable[[Any], Any]
) -> None:
    furnish(cloud, client_of)
    answer = requests.get(f"{cloud.http_url}/", timeout=5)
    for text in ("ranker", "team=ml", "serve-ranker", "nightly", "gs://artifacts", "demo-project"):
        assert text in answer.text
    assert "Models <span>1 · " in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "src=" not in answer.text
    assert "<link" not in answer.text


def test_what_clients_wrote_is_escaped(cloud: LocalCloud) -> None:
    cloud.models.seed("42", display_name=EVIL, labels={"k": EVIL}, artifact_uri=EVIL)
    page = requests.get(f"{cloud.http_url}/", params={"said": EVIL}, timeout=5).text
    assert EVIL not in page
    assert page.count("&lt;script&gt;") >= 4


def test_a_model_is_deleted_behind_everybodys_back(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    cloud.models.seed("42", display_name="ranker", versions=[1, 2])
    answer = press(cloud, "model", MODEL)
    assert answer.status_code == 303
    assert "Deleted" in requests.get(cloud.http_url + answer.headers["Location"], timeout=5).text
    with pytest.raises(exceptions.NotFound):
        models.get_model(name=MODEL)
    (call,) = cloud.effects.mutations("ModelService.DeleteModel")
    assert call.reason == "console"


def test_a_version_a_service_and_a_job_have_buttons_too(
    cloud: LocalCloud, client_of: Callable[[Any], Any], models: ModelServiceClient
) -> None:
    furnish(cloud, client_of)
    press(cloud, "version", f"{MODEL}@2")
    press(cloud, "service", f"{PARENT}/services/serve-ranker")
    press(cloud, "job", f"{PARENT}/jobs/nightly")
    methods = [call.method for call in cloud.effects.mutations() if call.reason == "console"]
    assert methods == [
        "ModelService.DeleteModelVersion",
        "Services.DeleteService",
        "CloudScheduler.DeleteJob",
    ]
    assert [one.version_id for one in models.list_model_versions(name=MODEL)] == ["1"]


def test_a_refused_deletion_says_why(cloud: LocalCloud) -> None:
    answer = press(cloud, "model", MODEL)
    page = requests.get(cloud.http_url + answer.headers["Location"], timeout=5).text
    assert "Not deleted:" in page
    assert press(cloud, "planet", MODEL).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "rebound.example", "Origin": "http://rebound.example"},
    ],
)
def test_another_web_page_cannot_press_buttons_or_steer(
    cloud: LocalCloud, headers: dict[str, str]
) -> None:
    cloud.models.seed("42", display_name="ranker")
    assert press(cloud, "model", MODEL, **headers).status_code == 403
    url = f"{cloud.http_url}/_localcloud/reset"
    assert requests.post(url, json={}, headers=headers, timeout=5).status_code == 403
    assert cloud.effects.mutations() == []


# the control API


def test_the_state_tells_what_is_there(
    cloud: LocalCloud, client_of: Callable[[Any], Any], api: Callable[..., Any]
) -> None:
    furnish(cloud, client_of)
    state = api("GET", "state")
    assert state["grpc"] == cloud.grpc_target
    assert [one["version"] for one in state["models"][0]["versions"]] == ["1", "2"]
    assert state["services"][0]["id"] == "serve-ranker"
    assert state["jobs"][0]["state"] == "ENABLED"
    counts = {"objects": 1, "bytes": 5, "noncurrent": 0, "soft_deleted": 0}
    assert state["buckets"] == [{"name": "artifacts"} | counts]


def test_time_is_moved_from_outside(cloud: LocalCloud, api: Callable[..., Any]) -> None:
    api("POST", "clock", freeze=True)
    assert api("POST", "clock", set="2030-01-01T00:00:00Z")["now"] == "2030-01-01T00:00:00+00:00"
    assert api("POST", "clock", advance=90)["now"] == "2030-01-01T00:01:30+00:00"
    assert "2030" in requests.get(cloud.http_url, timeout=5).headers["Date"]
    for wrong in ({"jump": 1}, {"set": "2030-01-01T00:00:00"}, {"advance": "soon"}):
        api("POST", "clock", status=400, **wrong)


def test_faults_are_ordered_listed_and_withdrawn(
    cloud: LocalCloud, api: Callable[..., Any], gcs: storage.Client
) -> None:
    api("POST", "faults", method="storage.*", code="PERMISSION_DENIED", times=None)
    with pytest.raises(exceptions.Forbidden):
        gcs.create_bucket("artifacts")
    (fault,) = api("GET", "faults")["faults"]
    assert (fault["code"], fault["hits"]) == ("PERMISSION_DENIED", 1)
    api("DELETE", "faults?method=storage.*")
    gcs.create_bucket("artifacts")
    for wrong in ({"method": "x", "kind": "flood"}, {"method": "x", "who": "me"}, {}):
        api("POST", "faults", status=400, **wrong)
    refused = api("POST", "faults", status=400, method="storage.object.get")
    assert "Near it: storage.objects.get" in refused["error"]["message"]


def test_calls_are_told_with_their_outcome(
    cloud: LocalCloud, api: Callable[..., Any], gcs: storage.Client
) -> None:
    gcs.create_bucket("artifacts")
    gcs.lookup_bucket("nobody")
    (made, missed) = api("GET", "calls?method=storage.buckets.*")["calls"]
    assert (made["mutating"], made["outcome"], missed["outcome"]) == (True, "OK", "NOT_FOUND")
    assert [c["seq"] for c in api("GET", f"calls?after={made['seq']}")["calls"]] == [missed["seq"]]
    (only,) = api("GET", "calls?mutating=true")["calls"]
    assert only["resource"] == "artifacts"


def test_models_metrics_and_outcomes_are_seeded(cloud: LocalCloud, api: Callable[..., Any]) -> None:
    told = api("POST", "seed/model", model_id="42", display_name="ranker", versions=[3])
    assert told == {"name": MODEL}
    api("POST", "seed/metrics", service="s", day=date(2026, 3, 1).isoformat(), requests=5)
    api("POST", "outcome", plane="run", service="s", ending="fail")
    api("POST", "outcome", plane="pipelines", ending="not_blessed")
    api("POST", "outcome", status=400, plane="moon", ending="fail")
    api("POST", "outcome", status=400, plane="run", ending="explode")
    assert api("GET", "state")["models"][0]["id"] == "42"
    assert api("GET", "attempts") == {"attempts": []}
    api("POST", "reset")
    assert api("GET", "state")["models"] == []


# the HTTP port


def test_errors_have_googles_shape(cloud: LocalCloud) -> None:
    answer = requests.get(f"{cloud.http_url}/storage/v1/b/nobody", timeout=5)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["errors"][0]["reason"]) == (
        404,
        404,
        "notFound",
    )
    assert requests.get(f"{cloud.http_url}/nowhere", timeout=5).status_code == 404
    assert requests.put(f"{cloud.http_url}/", timeout=5).status_code == 405
    broken = requests.post(f"{cloud.http_url}/_localcloud/clock", data="{", timeout=5)
    assert (broken.status_code, "Parse Error" in broken.text) == (400, True)


def test_the_reason_a_client_gives_is_kept(cloud: LocalCloud) -> None:
    url = f"{cloud.http_url}/storage/v1/b?project=demo-project"
    requests.get(url, headers={"X-Goog-Request-Reason": "op-7"}, timeout=5)
    assert [call.reason for call in cloud.effects.calls()] == ["op-7"]


def test_a_hung_call_ends_when_its_client_hangs_up(cloud: LocalCloud) -> None:
    fault = cloud.faults.order("storage.buckets.insert", "hang")
    url = f"{cloud.http_url}/storage/v1/b?project=demo-project"
    with pytest.raises(requests.Timeout):
        requests.post(url, json={"name": "artifacts"}, timeout=0.2)
    (call,) = cloud.effects.calls("storage.buckets.insert")
    for _ in range(500):
        if call.outcome == "CANCELLED":
            break
        requests.get(f"{cloud.http_url}/oauth2/v1/certs", timeout=5)
    assert (call.outcome, call.mutating, fault.hits) == ("CANCELLED", False, 1)


def test_a_header_stored_in_an_object_cannot_forge_others(cloud: LocalCloud) -> None:
    cloud.storage.write("artifacts", "a", b"1", "text/plain\r\nX-Forged: yes")
    url = f"{cloud.http_url}/storage/v1/b/artifacts/o/a?alt=media"
    answer = requests.get(url, timeout=5)
    assert (answer.content, "X-Forged" in answer.headers) == (b"1", False)


def test_an_empty_cloud_says_so_section_by_section(cloud: LocalCloud) -> None:
    page = requests.get(cloud.http_url, timeout=5).text
    empty = ("models", "pipelines", "services", "jobs", "endpoints", "buckets")
    assert [f"No {kind}." in page for kind in empty] == [True] * 6
