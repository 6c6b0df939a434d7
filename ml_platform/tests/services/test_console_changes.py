"""Each method of Google's APIs that changes something, done by a person past the platform.

The local cloud knows the methods: one that it learns needs a row here, or this fails. A row says
what the next sweep finds, or why it needs to find nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.localcloud.server.rpc import grpc_server
from ml_platform.tests.factories import ProjectFactory

from .console import endpoints, files, jobs, models, pipelines, services
from .console.scene import Row, Scene
from .training_tools import CloudClock

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

SCENES: Mapping[str, Sequence[Row]] = {
    "models": models.ROWS,
    "endpoints": endpoints.ROWS,
    "services": services.ROWS,
    "jobs": jobs.ROWS,
    "files": files.ROWS,
    "pipelines": pipelines.ROWS,
}
READS = ("Get", "List", "Search", "Test", "Wait")


def changing(cloud: LocalCloud) -> set[str]:
    """The methods of the local cloud that change something, as its log names them."""
    gate, operations = cloud.core.gate, cloud.core.operations
    served = [*cloud.rest.services, grpc_server.bind_operations(gate, operations)]
    by_rpc = {
        method.name
        for service in served
        for name, method in service.methods.items()
        if not name.startswith(READS)
        and getattr(method.do, "func", None) is not grpc_server._unserved
    }
    routes = cloud.storage.routes()
    return by_rpc | {route.call for route in routes if route.call and route.verb != "GET"}


def test_each_method_that_changes_something_has_a_row(cloud: LocalCloud) -> None:
    rows = [row for scene in SCENES.values() for row in scene]
    assert {row.method for row in rows} == changing(cloud)
    for row in rows:
        assert bool(row.finds) != bool(row.why), row.method
        assert not row.why or row.why.endswith("."), row.method


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.any_database
@pytest.mark.parametrize("name", SCENES)
def test_the_next_sweep_tells_what_a_person_did(
    cloud: LocalCloud, settings: Any, name: str
) -> None:
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "http://127.0.0.1:9/ml/",
        "WEBHOOK_SERVICE_ACCOUNTS": ("ringer@demo-project.iam.gserviceaccount.com",),
    }
    with Scene(cloud, CloudClock(cloud), ProjectFactory()) as scene:
        scene.model()
        assert scene.look() == []
        for row in SCENES[name]:
            play(scene, row)


def play(scene: Scene, row: Row) -> None:
    """The person acts, the sweep looks, and what it found is repaired."""
    about = f"{row.method}: {row.act.__name__}"
    before = len(scene.cloud.effects.calls(row.method))
    undo = row.act(scene)
    outcomes = {call.outcome for call in scene.cloud.effects.calls(row.method)[before:]}
    assert ("OK" in outcomes) != row.refused, (about, outcomes)
    assert scene.look() == list(row.finds), about
    if row.tells:
        row.tells(scene)
    if row.finds:
        scene.repair(undo)
        assert scene.look() == [], f"{about}, repaired"
