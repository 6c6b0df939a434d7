"""Short courses of events that a defect needs and that dice seldom throw; each says what is wrong.

The tests of regressions play them, and the hunt for seeded defects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

from ml_platform.cloud.transport import channels
from ml_platform.models import DeployedEndpoint, RegisteredModel, TrainingRun
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deployment.deploy import deploy_run
from ml_platform.services.operations.worker import resume_operations, run_until_idle
from ml_platform.services.registration.register import register_run

from . import planes
from .play import STALE
from .settled import unsettled
from .world import BO, prefix_of, settle

if TYPE_CHECKING:
    from .world import World

UPLOAD = "ModelService.UploadModel"


def registered(world: World) -> TrainingRun:
    """A run that became a version through our door."""
    run = world.a_run()
    register_run(run=run, actor=BO, now=world.now())
    settle(world)
    run.refresh_from_db()
    return run


@contextmanager
def before_each_call(observe: Callable[[str], None]) -> Iterator[None]:
    """Have something happen between a step's COMMIT and its call."""
    with patch.object(channels, "before_call", [observe]):
        yield


def be_stale(world: World) -> None:
    """Reads do not show what is younger than some seconds."""
    for glob in STALE:
        world.cloud.faults.order(glob, "stale", seconds=25.0, times=None)


def stalled_upload(world: World) -> list[str]:
    """A worker stands still before its upload for longer than its lease; another one finishes."""
    registered(world)
    run = world.a_run()
    operation = register_run(run=run, actor=BO, now=world.now())
    held: list[str] = []

    def stall(method: str) -> None:
        if method == UPLOAD and not held:
            held.append(method)
            world.forward(61)
            for _ in range(10):
                run_until_idle(operation_id=operation.pk, clock=world.now)
                world.forward(31)

    with before_each_call(stall):
        resume_operations(clock=world.now)
        settle(world)
    uploads = len(world.cloud.effects.mutations(UPLOAD))
    return unsettled(world) if uploads == 2 else [f"I7 {uploads} uploads of two runs"]


def second_worker(world: World) -> list[str]:
    """Another worker comes by while the first one is about to upload."""
    register_run(run=world.a_run(), actor=BO, now=world.now())
    moved: list[object] = []

    def come_by(method: str) -> None:
        if method == UPLOAD:
            moved.extend(resume_operations(clock=world.now))

    with before_each_call(come_by):
        settle(world)
    return [f"S7 two workers: {moved}"] if moved else unsettled(world)


def blind_deletion(world: World) -> list[str]:
    """A deletion is on its way, and Vertex AI may not be read any more."""
    run = world.a_lineage(versions=2)[0]
    world.cloud.core.operations.lro_seconds = 200.0
    lineage = RegisteredModel.objects.get()
    delete_versions(lineage=lineage, runs=[run], actor=BO, now=world.now())
    resume_operations(clock=world.now)
    for glob in ("Operations.*", "ModelService.Get*"):
        world.cloud.faults.order(glob, "error", "PERMISSION_DENIED", times=None)
    settle(world)
    world.cloud.faults.clear()
    run.refresh_from_db()
    if run.registration != "deleting":
        return [f"R5 {run} is {run.registration} while its deletion is on its way"]
    delete_versions(lineage=lineage, runs=[run], actor=BO, now=world.now())
    settle(world)
    return unsettled(world)


def refused_deletion(world: World) -> list[str]:
    """Vertex AI refuses for certain to delete a version."""
    run = world.a_lineage(versions=2)[0]
    world.cloud.faults.order("ModelService.Delete*", "error", "PERMISSION_DENIED", times=None)
    lineage = RegisteredModel.objects.get()
    delete_versions(lineage=lineage, runs=[run], actor=BO, now=world.now())
    settle(world)
    run.refresh_from_db()
    return [*unsettled(world), *([] if run.registration == "registered" else [f"R5 {run} is left"])]


def young_sibling(world: World) -> list[str]:
    """Of two versions that go, one is so young that reads do not show it after the first went."""
    registered(world)
    world.forward(600)
    young = [registered(world) for _ in range(2)]
    called: list[str] = []

    def lag(method: str) -> None:
        called.append(method)
        if called[-2:] == ["ModelService.DeleteModelVersion", "ModelService.GetModel"]:
            be_stale(world)

    lineage = RegisteredModel.objects.get()
    with before_each_call(lag):
        delete_versions(lineage=lineage, runs=young, actor=BO, now=world.now())
        settle(world)
    world.cloud.faults.clear()
    return unsettled(world)


def young_version(world: World) -> list[str]:
    """A version goes that is so young that reads do not show it."""
    run = registered(world)
    be_stale(world)
    lineage = RegisteredModel.objects.get()
    delete_versions(lineage=lineage, runs=[run], actor=BO, now=world.now())
    settle(world)
    world.cloud.faults.clear()
    return unsettled(world)


def lost_upload(world: World) -> list[str]:
    """The answer to the upload of a later version is lost."""
    registered(world)
    world.cloud.faults.order(UPLOAD, "lost", "DEADLINE_EXCEEDED")
    registered(world)
    uploads = len(world.cloud.effects.mutations(UPLOAD))
    return unsettled(world) if uploads == 2 else [f"I7 {uploads} uploads of two runs"]


def objects_left(world: World) -> list[str]:
    """Cloud Storage does not delete an object when it is asked to."""
    run = world.a_lineage(versions=2)[0]
    world.cloud.faults.order("storage.objects.delete", "error", "UNAVAILABLE")
    lineage = RegisteredModel.objects.get()
    delete_versions(lineage=lineage, runs=[run], actor=BO, now=world.now())
    settle(world)
    return unsettled(world)


def pinned(world: World) -> tuple[list[TrainingRun], DeployedEndpoint]:
    """An endpoint that serves its second version by our row, and its first by its traffic."""
    runs = world.a_lineage(versions=2)
    revisions = []
    for run in runs:
        deploy_run(run=run, actor=BO, now=world.now())
        settle(world)
        world.forward(300)
        revisions.append(DeployedEndpoint.objects.get().revision)
    endpoint = DeployedEndpoint.objects.get()
    world.pin(endpoint.service_name, revisions[0])
    return runs, endpoint


def pinned_deletion(world: World) -> list[str]:
    """A version goes that only an older revision serves."""
    runs, endpoint = pinned(world)
    lineage = endpoint.registered_model
    delete_versions(lineage=lineage, runs=[runs[0]], actor=BO, now=world.now())
    settle(world)
    there = {v.version for v in planes.versions(world.cloud)}
    return [] if there == {"1", "2"} else [f"S12 what serves stays: {sorted(there)} are left"]


def denied_look(world: World) -> list[str]:
    """Vertex AI may not be read, and a version shall be deleted."""
    run = world.a_lineage(versions=2)[0]
    world.forward(600)
    world.cloud.faults.order("ModelService.*", "error", "PERMISSION_DENIED", times=None)
    lineage = RegisteredModel.objects.get()
    delete_versions(lineage=lineage, runs=[run], actor=BO, now=world.now())
    settle(world)
    world.cloud.faults.clear()
    return unsettled(world)


def used_files(world: World) -> list[str]:
    """A version goes whose files a model that somebody uploaded uses too."""
    run = world.a_lineage(versions=2)[0]
    uri = f"{run.gcs_artifacts_path}pushed_model/1"
    world.cloud.models.seed("4711", display_name="theirs", artifact_uri=uri)
    lineage = RegisteredModel.objects.get()
    delete_versions(lineage=lineage, runs=[run], actor=BO, now=world.now())
    settle(world)
    left = any(planes.objects(world.cloud, prefix_of(run)))
    return [*unsettled(world), *([] if left else [f"S13 the files of {run} are gone"])]


COURSES: Mapping[str, Callable[[World], list[str]]] = {
    course.__name__: course
    for course in (
        stalled_upload,
        second_worker,
        blind_deletion,
        refused_deletion,
        young_sibling,
        young_version,
        lost_upload,
        objects_left,
        pinned_deletion,
        denied_look,
        used_files,
    )
}
