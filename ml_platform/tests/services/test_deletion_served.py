"""What an endpoint of Vertex AI serves is not deleted: the preview says so, and the operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ml_platform.cloud import vertex
from ml_platform.models import Operation, TrainingRun
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deletion.preview import preview_deletion
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.workflows import WORKFLOWS

from .deploy_tools import A_WHILE, finish
from .people import vertex_endpoint
from .test_foreign import pointer_of
from .world import ANA, Clock, a_lineage, artifacts, vertex_versions

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock(cloud.clock.now())


@pytest.mark.parametrize("whole", [True, False], ids=["the model", "one version"])
def test_the_preview_names_the_endpoint_and_the_operation_refuses_at_once(
    cloud: LocalCloud, clock: Clock, *, whole: bool
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    clock.forward(A_WHILE)
    doomed = runs if whole else runs[:1]
    with vertex_endpoint(cloud, str(pointer_of(runs[0]))) as endpoint:
        (block,) = preview_deletion(lineage=lineage, runs=doomed).blocks
        assert (block.error.code, endpoint in str(block.error)) == ("model_deployed", True)
        before = clock()
        cloud.effects.reset()
        operation = delete_versions(lineage=lineage, runs=doomed, actor=ANA, now=clock())
        advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock)
        operation.refresh_from_db()
        assert (operation.status, operation.error_code) == ("failed", "model_deployed")
        assert endpoint in operation.error
        assert (clock(), cloud.effects.mutations()) == (before, [])
        states = set(TrainingRun.objects.values_list("registration", flat=True))
        assert states == {"registered"}
    retry_operation(operation=operation, actor=ANA)
    assert finish(operation, clock).status == "succeeded"


def test_a_sibling_of_a_served_version_is_deleted(cloud: LocalCloud, clock: Clock) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    clock.forward(A_WHILE)
    with vertex_endpoint(cloud, str(pointer_of(runs[0]))):
        assert preview_deletion(lineage=lineage, runs=runs[1:]).blocks == ()
        operation = delete_versions(lineage=lineage, runs=runs[1:], actor=ANA, now=clock())
        assert finish(operation, clock).status == "succeeded"
    assert list(vertex_versions(lineage)) == ["1"]


def test_what_is_served_after_the_check_is_refused_at_the_next_look(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    clock.forward(A_WHILE)
    operation = delete_versions(lineage=lineage, runs=runs[:1], actor=ANA, now=clock())
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=1)
    with vertex_endpoint(cloud, str(pointer_of(runs[0]))):
        advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock)
        operation = Operation.objects.get(pk=operation.pk)
        assert (operation.status, operation.error_code) == ("failed", "model_deployed")
    assert vertex.get_model(pointer_of(runs[0])).endpoints == ()
    assert len(artifacts(cloud, runs[0])) == 1
