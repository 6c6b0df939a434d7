"""REST through google-api-python-client, from the discovery documents in its wheel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from googleapiclient import discovery
from googleapiclient.errors import HttpError

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import NUMBERED, PARENT
from ml_platform.tests.localcloud.test_rest import SERVICE


@pytest.fixture
def built(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], Any]]:
    """`built("run", "v2")`: Google's client from the discovery document in its wheel."""
    monkeypatch.delenv("http_proxy")  # httplib2 asks for PySocks even for a host in no_proxy
    made: list[Any] = []

    def build(api: str, version: str) -> Any:
        options = {"api_endpoint": cloud.http_url + ("/storage/v1/" if api == "storage" else "/")}
        service = discovery.build(
            api,
            version,
            credentials=AnonymousCredentials(),
            client_options=options,
            static_discovery=True,
        )
        made.append(service)
        return service

    yield build
    for service in made:
        service.close()


def test_the_discovery_client_on_vertex_ai(
    cloud: LocalCloud, built: Callable[[str, str], Any]
) -> None:
    models = built("aiplatform", "v1").projects().locations().models()
    body = {"modelId": "ranker", "model": {"displayName": "ranker", "labels": {"a": "b"}}}
    operation = models.upload(parent=PARENT, body=body).execute()
    assert operation["response"]["modelVersionId"] == "1"
    polled = models.operations().get(name=operation["name"]).execute()
    assert polled["done"] is True
    listed = models.list(parent=PARENT, fields="models(name,labels)").execute()
    assert listed == {"models": [{"name": f"{NUMBERED}/models/ranker", "labels": {"a": "b"}}]}
    with pytest.raises(HttpError, match="The Model does not exist") as caught:
        models.get(name=f"{PARENT}/models/nope").execute()
    assert caught.value.status_code == 404
    with pytest.raises(HttpError, match=r'Unknown name "nmae" at \'model\': Cannot find field'):
        models.upload(parent=PARENT, body={"model": {"nmae": "x"}}).execute()


def test_the_discovery_client_sends_a_long_get_as_a_post(
    cloud: LocalCloud, built: Callable[[str, str], Any]
) -> None:
    cloud.models.seed("ranker", display_name="ranker", labels={"a": "b"})
    models = built("aiplatform", "v1").projects().locations().models()
    wanted = " OR ".join(["labels.a=b"] * 200)
    listed = models.list(parent=PARENT, filter=wanted, pageSize=1).execute()
    assert len(listed["models"]) == 1
    assert [call.method for call in cloud.effects.calls()] == ["ModelService.ListModels"]


def test_the_discovery_client_on_cloud_run_and_scheduler(
    cloud: LocalCloud, built: Callable[[str, str], Any]
) -> None:
    services = built("run", "v2").projects().locations().services()
    made = services.create(parent=PARENT, serviceId="web", body=SERVICE).execute()
    assert made["response"]["name"] == f"{PARENT}/services/web"
    policy = {"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}}
    services.setIamPolicy(resource=f"{PARENT}/services/web", body=policy).execute()
    asked = services.getIamPolicy(
        resource=f"{PARENT}/services/web", options_requestedPolicyVersion=3
    )
    assert asked.execute()["bindings"][0]["role"] == "roles/run.invoker"
    jobs = built("cloudscheduler", "v1").projects().locations().jobs()
    job = {
        "name": f"{PARENT}/jobs/nightly",
        "schedule": "0 4 * * *",
        "timeZone": "UTC",
        "attemptDeadline": "30s",
        "httpTarget": {"uri": "https://web.example/", "httpMethod": "PUT"},
    }
    made = jobs.create(parent=PARENT, body=job).execute()
    assert made["attemptDeadline"] == "30s"
    assert made["httpTarget"]["httpMethod"] == "PUT"
    assert jobs.pause(name=made["name"], body={}).execute()["state"] == "PAUSED"
    assert jobs.delete(name=made["name"]).execute() == {}


def test_the_discovery_client_on_monitoring_and_storage(
    cloud: LocalCloud, built: Callable[[str, str], Any]
) -> None:
    cloud.monitoring.seed("web", date(2026, 11, 1), requests=240)
    series = built("monitoring", "v3").projects().timeSeries()
    asked = {
        "name": "projects/demo-project",
        "filter": 'metric.type="run.googleapis.com/request_count"',
        "interval_startTime": "2026-11-01T00:00:00Z",
        "interval_endTime": "2026-11-02T00:00:00Z",
        "aggregation_alignmentPeriod": "86400s",
        "aggregation_perSeriesAligner": "ALIGN_SUM",
        "aggregation_crossSeriesReducer": "REDUCE_SUM",
        "aggregation_groupByFields": ["resource.labels.service_name"],
    }
    (found,) = series.list(**asked).execute()["timeSeries"]
    assert found["resource"]["labels"]["service_name"] == "web"
    assert found["points"][0]["value"] == {"int64Value": "240"}
    storage = built("storage", "v1")
    storage.buckets().insert(project="demo-project", body={"name": "artifacts"}).execute()
    assert [b["name"] for b in storage.buckets().list(project="demo-project").execute()["items"]]
