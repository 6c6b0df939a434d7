"""What a confirmation and a relabeling looked at changes before their effect."""

from __future__ import annotations

from collections.abc import Generator

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.models import Operation
from ml_platform.services.installation.confirm import confirm_installation
from ml_platform.services.installation.identity import current
from ml_platform.services.operations.engine import advance
from ml_platform.services.ownership.labels import INSTALLATION
from ml_platform.services.sweeps.operation import check_registry
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.services.installations import MARKER, marker_of
from ml_platform.tests.services.world import ANA, BUCKET, a_lineage

from .harness import World, before, ended

Played = Generator[Operation | None, None, None]


@before("take_marker")
def a_marker_that_another_database_replaced_meanwhile_is_taken_as_it_is(w: World) -> Played:
    w.cloud.storage.write(BUCKET, MARKER, b'{"uid": "abc", "nonce": "1"}')
    operation = confirm_installation(actor=ANA, clock=w.clock)
    yield operation
    w.cloud.storage.write(BUCKET, MARKER, b'{"uid": "def", "nonce": "2"}')
    yield None
    ended(operation, "succeeded")
    assert marker_of(w.cloud)["uid"] == current().uid.hex


@before("relabel")
def a_version_that_lost_its_labels_meanwhile_stays_as_it_is(w: World) -> Played:
    _, [run] = a_lineage(w.cloud, w.clock)
    name = ModelName.parse(run.vertex_model_resource_name).at("1")
    labels = {k: v for k, v in vertex.get_model(name).labels.items() if k != INSTALLATION}
    vertex.update_model_labels(name, labels)
    w.clock.forward(600)
    relabeling = Operation.objects.filter(workflow="label-installation")
    check = check_registry(actor=ANA, clock=w.clock)
    advance(operation_id=check.pk, workflows=WORKFLOWS, clock=w.clock)
    yield relabeling.get()
    vertex.update_model_labels(name, {"team": "shop"})
    yield None
    ended(relabeling.get(), "succeeded")
    assert vertex.get_model(name).labels == {"team": "shop"}
