"""What people do to services and revisions on Cloud Run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ml_platform.cloud.transport import channels
from ml_platform.models import DeployedEndpoint
from ml_platform.services.deployment.deploy import deploy_run
from ml_platform.services.serving.config import ServingConfig
from ml_platform.tests.services.people import see_service
from ml_platform.tests.services.training_tools import ANA, settle

from .scene import MOMENT, Row, Scene, Undo, rpc

CALLER = "user:shop@example.com"
"""Whom our configuration lets call the service."""


def served(scene: Scene) -> DeployedEndpoint:
    """An endpoint that serves a version, the same one for all rows that leave it as it is."""
    if endpoint := scene.kept.get("served"):
        return endpoint  # type: ignore[no-any-return]
    _, [run] = scene.model()
    deploy_run(run=run, actor=ANA, now=scene.clock(), config=ServingConfig(invokers=(CALLER,)))
    settle(scene.clock)
    scene.clock.forward(MOMENT)
    endpoint = DeployedEndpoint.objects.get(run=run)
    assert endpoint.is_active
    scene.kept["served"] = endpoint
    return endpoint


def _edit(scene: Scene, change: Callable[[Any], object]) -> Undo:
    name = served(scene).service_name
    service, before = see_service(name), see_service(name)
    change(service)
    rpc("Services", "update_service", service=service)

    def undo() -> None:
        before.etag = ""
        rpc("Services", "update_service", service=before)

    return undo


def create(scene: Scene) -> Undo:
    rpc(
        "Services",
        "create_service",
        parent=channels.location_path(),
        service_id=scene.name("theirs"),
        service={"template": {"containers": [{"image": "theirs"}]}},
    )
    return None


def copy(scene: Scene) -> Undo:
    """A service with the labels and the model of ours, under another name."""
    ours, parent = see_service(served(scene).service_name), channels.location_path()
    made = rpc(
        "Services",
        "create_service",
        parent=parent,
        service_id=scene.name("copy"),
        service={"labels": ours.labels, "template": {"containers": ours.template.containers}},
    )
    return lambda: rpc("Services", "delete_service", name=made.name)


def change_image(scene: Scene) -> Undo:
    def change(service: Any) -> None:
        service.template.containers[0].image = "by-hand"

    return _edit(scene, change)


def remove_labels(scene: Scene) -> Undo:
    def change(service: Any) -> None:
        service.labels = {"team": "search"}

    return _edit(scene, change)


def describe(scene: Scene) -> Undo:
    def change(service: Any) -> None:
        service.description = "Mine"

    return _edit(scene, change)


def invite(scene: Scene) -> Undo:
    return _let_call(scene, CALLER, "user:ana@example.com")


def let_nobody_call(scene: Scene) -> Undo:
    return _let_call(scene)


def _let_call(scene: Scene, *members: str) -> Undo:
    policy = {"bindings": [{"role": "roles/run.invoker", "members": members}] if members else []}
    channels.client("Services").set_iam_policy(
        request={"resource": see_service(served(scene).service_name).name, "policy": policy}
    )
    return None


def delete_revision(scene: Scene) -> Undo:
    """A revision that gets no requests; Cloud Run refuses to delete another."""
    service = see_service(served(scene).service_name)
    revisions = channels.client("Revisions").list_revisions(parent=service.name)
    idle = next(one for one in revisions if one.name != service.latest_created_revision)
    channels.client("Revisions").delete_revision(name=idle.name).result()
    return None


def delete(scene: Scene) -> Undo:
    rpc("Services", "delete_service", name=see_service(served(scene).service_name).name)
    del scene.kept["served"]
    return None


def delete_model(scene: Scene) -> Undo:
    """The model of a version that a service goes on to serve."""
    lineage = served(scene).registered_model
    rpc("ModelService", "delete_model", name=lineage.vertex_model_resource_name)
    assert scene.look() == ["stale_pointer"]
    scene.repair(None)  # our records follow; what serves is told next
    return None


ROWS = (
    Row(
        method="Services.CreateService",
        act=create,
        why="A service without our labels is the person's own.",
    ),
    Row(method="Services.CreateService", act=copy, finds=("leftover_service",)),
    Row(method="Services.UpdateService", act=change_image, finds=("service_changed",)),
    Row(method="Services.UpdateService", act=remove_labels, finds=("service_labels_changed",)),
    Row(
        method="Services.UpdateService",
        act=describe,
        why="The platform does not set the description, so it is people's to write.",
    ),
    Row(
        method="Services.SetIamPolicy",
        act=invite,
        why="Whom a person lets call a service is theirs to say; a deploy keeps these members.",
    ),
    Row(method="Services.SetIamPolicy", act=let_nobody_call, finds=("service_changed",)),
    Row(
        method="Revisions.DeleteRevision",
        act=delete_revision,
        why="Only a revision without requests can be deleted: what serves is as it was.",
    ),
    Row(method="Services.DeleteService", act=delete, finds=("service_missing",)),
    Row(
        method="ModelService.DeleteModel",
        act=delete_model,
        finds=("serving_unverified",),
    ),
)
