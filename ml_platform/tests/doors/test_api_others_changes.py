"""What people set on Cloud Run and a deploy asked for by the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.tests.services.deploy_tools import deployed
from ml_platform.tests.services.people import edit_service, see_service
from ml_platform.tests.services.world import Clock, settle

from .api_tools import bearer, member_of, post

if TYPE_CHECKING:
    from django.test import Client

    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db(transaction=True)
NEWEST = {"version": "newest", "endpoint": "default"}
PINNED = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"


def result_of(ana: Client, asked: Any, clock: Clock) -> dict[str, Any]:
    assert asked.status_code == 202, asked.content
    settle(clock)
    answer: dict[str, Any] = ana.get(f"/api/operations/{asked.json()['id']}/").json()
    return answer


def test_what_others_changed_is_in_the_answer_of_the_operation(cloud: LocalCloud) -> None:
    clock = Clock()
    endpoint, _ = deployed(cloud, clock, versions=2)
    ana = bearer(member_of(endpoint.project))

    def edit(service: Any) -> None:
        service.ingress = "INGRESS_TRAFFIC_INTERNAL_ONLY"
        service.template.containers[0].resources.limits["memory"] = "4Gi"

    edit_service(endpoint.service_name, edit)
    path = f"/api/models/{endpoint.registered_model_id}/deploy/"
    operation = result_of(ana, post(ana, path, NEWEST), clock)
    assert operation["status"] == "succeeded"
    [look] = [step for step in operation["steps"] if step["step"] == "look"]
    assert look["note"].endswith("Others changed it, which is overwritten: memory is 4Gi, not 2Gi.")
    service = see_service(endpoint.service_name)
    assert service.ingress.name == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    assert service.template.containers[0].resources.limits["memory"] == "2Gi"


def test_a_deploy_that_would_get_no_traffic_says_what_to_do(cloud: LocalCloud) -> None:
    clock = Clock()
    endpoint, _ = deployed(cloud, clock, versions=2)
    ana = bearer(member_of(endpoint.project))
    first = endpoint.revision

    def pin(service: Any) -> None:
        service.template.session_affinity = True
        service.traffic = [{"type_": PINNED, "revision": first, "percent": 100}]

    edit_service(endpoint.service_name, pin)
    path = f"/api/models/{endpoint.registered_model_id}/deploy/"
    operation = result_of(ana, post(ana, path, NEWEST), clock)
    assert (operation["status"], operation["error"]["code"]) == ("failed", "traffic_elsewhere")
    assert f"was sent to {first} on Cloud Run" in operation["error"]["detail"]
    assert "--to-latest" in operation["error"]["advice"]
