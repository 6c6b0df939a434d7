"""What differs between a service and what we gave it, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.cloud.run_v2.types.service import Service

from ml_platform.cloud.run_messages import main_container, new_service, read_service, write_spec
from ml_platform.cloud.types import Ingress, ServiceSpec
from ml_platform.services.serving.our_fields import differences

SPEC = ServiceSpec(
    image="i:1", labels={"mlp_run": "a"}, env={"A": "1", "AIP_STORAGE_URI": "gs://b/m"}
)
NAME = "projects/p/locations/l/services/s"
LATEST, PINNED = 1, 2


def words(found: ServiceSpec, before: ServiceSpec) -> list[str]:
    return [one.words for one in differences(found, before)]


def raw(spec: ServiceSpec = SPEC) -> Any:
    service = new_service(spec)
    service.name = NAME
    return service


def test_a_service_that_was_just_made_differs_in_nothing() -> None:
    for spec in (SPEC, replace(SPEC, ingress=Ingress.INTERNAL, service_account="a@b")):
        found = read_service(raw(spec)).spec
        assert found is not None
        assert words(found, spec) == []


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("1", "1000m"), ("0.5", "500m"), (".5", "0.5"), ("2", "2.0")],
)
def test_a_cpu_is_compared_as_a_number(ours: str, theirs: str) -> None:
    spec = replace(SPEC, cpu=ours)
    assert words(replace(spec, cpu=theirs), spec) == []
    assert words(replace(spec, cpu="8"), spec) == [f"cpu is 8, not {ours}"]


def test_a_memory_is_compared_as_a_number() -> None:
    assert words(replace(SPEC, memory="2048Mi"), SPEC) == []
    assert words(replace(SPEC, memory="2G"), SPEC) == ["memory is 2G, not 2Gi"]


def test_what_a_configuration_leaves_open_is_not_ours() -> None:
    found = replace(SPEC, ingress=Ingress.INTERNAL, service_account="theirs@p")
    assert words(found, SPEC) == []
    closed = replace(SPEC, ingress=Ingress.INTERNAL_AND_LOAD_BALANCER, service_account="ours@p")
    assert words(found, closed) == [
        "ingress is internal, not internal_and_load_balancer",
        "service_account is theirs@p, not ours@p",
    ]


def test_a_service_without_containers_gets_one() -> None:
    service = Service.pb(Service(name=NAME))
    write_spec(service, SPEC, before=SPEC)
    assert [one.image for one in service.template.containers] == ["i:1"]


@pytest.mark.parametrize("exposed", ["ours", "proxy"])
def test_the_container_with_the_model_is_ours_wherever_others_put_theirs(exposed: str) -> None:
    service = raw()
    proxy = {"image": "proxy:1", "env": [{"name": "A", "value": "theirs"}]}
    ours = Service.pb(Service()).template.containers.add()
    ours.CopyFrom(service.template.containers[0])
    del service.template.containers[:]
    service.template.containers.add(**proxy)
    service.template.containers.append(ours)
    if exposed == "proxy":
        del service.template.containers[1].ports[:]
        service.template.containers[0].ports.add(container_port=9000)
    write_spec(service, replace(SPEC, image="i:2", env={"A": "2"}), before=SPEC)
    assert [one.image for one in service.template.containers] == ["proxy:1", "i:2"]
    assert service.template.containers[0].env[0].value == "theirs"
    assert [p.container_port for c in service.template.containers for p in c.ports] == [
        9000 if exposed == "proxy" else 8080
    ]
    assert main_container(Service.pb(Service()).template) is None


@pytest.mark.parametrize(
    ("traffic", "percent", "after"),
    [
        ([], 100, [(LATEST, "", 100)]),
        ([(LATEST, "", 100)], 100, [(LATEST, "", 100)]),
        ([(LATEST, "", 5), (PINNED, "s-1", 95)], 5, [(LATEST, "", 5), (PINNED, "s-1", 95)]),
        ([(LATEST, "", 5), (PINNED, "s-2", 95)], 5, [(LATEST, "", 5), (PINNED, "s-2", 95)]),
        ([(PINNED, "s-2", 100)], 100, [(LATEST, "", 100)]),
        ([(PINNED, "s-1", 40), (PINNED, "s-2", 60)], 60, [(LATEST, "", 60), (PINNED, "s-1", 40)]),
        ([(PINNED, "s-1", 100)], 0, [(PINNED, "s-1", 100)]),
        ([(PINNED, "s-1", 100), (LATEST, "", 0)], 0, [(PINNED, "s-1", 100), (LATEST, "", 0)]),
    ],
)
def test_the_next_revision_gets_what_the_newest_ready_one_has(
    traffic: list[tuple[int, str, int]], percent: int, after: list[tuple[int, str, int]]
) -> None:
    service = raw()
    service.latest_ready_revision = f"{NAME}/revisions/s-2"
    del service.traffic[:]
    for kind, revision, share in traffic:
        service.traffic.add(type_=kind, revision=revision, percent=share)
    assert read_service(service).percent_of_newest == percent
    write_spec(service, SPEC, before=SPEC)
    assert [(t.type_, t.revision, t.percent) for t in service.traffic] == after
