"""What a service shall be is checked before anybody is asked; who serves is judged, not assumed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_platform.cloud.names import ServiceName
from ml_platform.cloud.types import Ingress, RemoteService, TrafficShare
from ml_platform.errors import Invalid
from ml_platform.services.serving.config import (
    ServingConfig,
    belongs_to,
    compare_service,
    service_spec,
)

UID = UUID(int=7)
SERVICE = RemoteService(
    name=ServiceName("p", "l", "s"),
    uri="https://s.run.app",
    etag="e",
    labels={"mlp_owner": "tests", "mlp_endpoint": UID.hex},
    image="i",
    env={},
    ready=True,
    reason="",
    latest_ready_revision="s-2",
    latest_created_revision="s-2",
    traffic=(TrafficShare(revision="s-2", percent=100),),
)


def test_the_default_is_private_and_starts_from_nothing() -> None:
    config = ServingConfig()
    assert (config.invokers, config.min_instances, config.max_instances) == ((), 0, 1)


WRONG: list[dict[str, Any]] = [
    {"image": "two words"},
    {"cpu": "3"},
    {"cpu": "many"},
    {"cpu": 2},
    {"memory": "2GB"},
    {"memory": "64Gi"},
    {"memory": 512},
    {"min_instances": 2},
    {"min_instances": -1},
    {"max_instances": 0},
    {"max_instances": True},
    {"max_instances": "5"},
    {"concurrency": 0},
    {"concurrency": 1001},
    {"cpu": "0.5", "concurrency": 2},
    {"cpu": "0.05", "concurrency": 1, "memory": "256Mi"},
    {"cpu": "0.4", "concurrency": 1, "memory": "1Gi"},
    {"cpu": "1", "memory": "5Gi"},
    {"cpu": "8", "memory": "2Gi"},
    {"memory": "64Mi"},
    {"timeout_seconds": 0},
    {"timeout_seconds": 3601},
    {"env": {"A B": "x"}},
    {"env": {"PORT": "1"}},
    {"env": {"AIP_STORAGE_URI": "gs://elsewhere/model"}},
    {"env": {"K_SERVICE": "x"}},
    {"env": {"A": 1}},
    {"env": ["A"]},
    {"ingress": "unknown"},
    {"ingress": "nowhere"},
    {"ingress": None},
    {"service_account": "no-address"},
    {"invokers": "allUsers"},
    {"invokers": ["everybody"]},
    {"invokers": ["user:"]},
    {"invokers": [7]},
    {"invokers": ["allUsers", "robot:x@y"]},
    {"port": 9},
    {"labels": {}},
]


@pytest.mark.parametrize("given_", WRONG, ids=str)
def test_a_configuration_cloud_run_would_not_take_is_refused_with_advice(
    given_: dict[str, Any],
) -> None:
    with pytest.raises(Invalid) as caught:
        ServingConfig.from_dict(given_)
    assert caught.value.code == "bad_config"
    assert caught.value.advice


@given(
    st.builds(
        ServingConfig,
        image=st.sampled_from(["", "ours:1"]),
        cpu=st.sampled_from(["1", "2", "4"]),
        memory=st.sampled_from(["2Gi", "4Gi"]),
        min_instances=st.integers(0, 1),
        max_instances=st.integers(1, 1000),
        concurrency=st.integers(1, 1000),
        timeout_seconds=st.integers(1, 3600),
        env=st.dictionaries(st.sampled_from(["A", "b_2"]), st.text(max_size=9)),
        ingress=st.sampled_from(sorted(set(Ingress) - {Ingress.UNKNOWN})),
        service_account=st.sampled_from(["", "a@b.example"]),
        invokers=st.lists(st.sampled_from(["allUsers", "group:a@b", "domain:b"])).map(tuple),
    )
)
def test_a_configuration_survives_its_journey_through_json(config: ServingConfig) -> None:
    assert ServingConfig.from_dict(config.to_dict()) == config


def test_a_spec_tells_the_container_where_its_model_is(settings: Any) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "SERVING_IMAGE": "theirs:9"}
    spec = service_spec(
        ServingConfig(env={"LOG": "x"}), artifact_uri="gs://b/m/1", labels={"a": "b"}
    )
    assert (spec.image, spec.labels) == ("theirs:9", {"a": "b"})
    assert spec.env == {
        "LOG": "x",
        "AIP_STORAGE_URI": "gs://b/m/1",
        "AIP_HTTP_PORT": "8080",
        "AIP_HEALTH_ROUTE": "/health",
        "AIP_PREDICT_ROUTE": "/predict",
    }
    assert spec.port == 8080


JUDGED: list[tuple[dict[str, Any], bool | None]] = [
    ({}, True),
    ({"traffic": (TrafficShare(revision="", percent=100),)}, True),
    ({"ready": None, "reason": ""}, None),
    ({"ready": False, "reason": "Out of memory."}, False),
    ({"latest_created_revision": "s-3"}, False),
    ({"traffic": ()}, False),
    ({"traffic": (TrafficShare(revision="s-1", percent=100),)}, False),
    (
        {
            "traffic": (
                TrafficShare(revision="s-1", percent=1),
                TrafficShare(revision="s-2", percent=99),
            )
        },
        False,
    ),
    (
        {
            "traffic": (
                TrafficShare(revision="", percent=40),
                TrafficShare(revision="s-2", percent=60),
            )
        },
        True,
    ),
]


@pytest.mark.parametrize(("change", "serves"), JUDGED, ids=str)
def test_success_is_a_ready_newest_revision_with_all_the_traffic(
    change: dict[str, Any], serves: bool | None
) -> None:
    judged = compare_service(replace(SERVICE, **change))
    assert judged.serves is serves
    assert judged.reason
    if change.get("reason"):
        assert judged.reason == change["reason"]


@pytest.mark.django_db
def test_a_service_is_an_endpoints_only_by_both_labels() -> None:
    assert belongs_to(SERVICE, UID)
    assert not belongs_to(SERVICE, UUID(int=8))
    for key in ("mlp_owner", "mlp_endpoint"):
        other = {**SERVICE.labels, key: "another"}
        without = {k: v for k, v in SERVICE.labels.items() if k != key}
        assert not belongs_to(replace(SERVICE, labels=other), UID)
        assert not belongs_to(replace(SERVICE, labels=without), UID)
    anothers = {**SERVICE.labels, "mlp_installation": "f" * 32}
    assert not belongs_to(replace(SERVICE, labels=anothers), UID)
