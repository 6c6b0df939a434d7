"""What holds when everything has come to rest: I1 to I14, over the rows and the cloud as they are.

I11 (one more reconcile writes nothing) is asked by who can reconcile: the driver of histories.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from django.db.models import Q

from ml_platform.cloud.names import ModelName
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    Operation,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.states import (
    HOLDS_POINTER,
    LIVE_OPERATION_STATUSES,
    LIVE_SCHEDULE_STATES,
    STANDING_FINDING_STATUSES,
    SUCCEEDED_RUN_STATUSES,
    EndpointState,
    OperationKind,
    OperationStatus,
    Registration,
)
from ml_platform.services.labels import ENDPOINT, OWNER, RUN, owner
from ml_platform.services.schedule_job import job_id_of

from . import planes
from .invariants import DELETIONS

if TYPE_CHECKING:
    from .world import World

Wrong = Iterator[str]


def one_count(world: World) -> Wrong:
    """I1: the lineages we count are our models in Vertex AI; what else is there is a finding."""
    ours = {v.model_id for v in planes.versions(world.cloud) if v.labels.get(OWNER) == owner()}
    counted = {
        ModelName.parse(name).model_id
        for name in RegisteredModel.objects.registered().values_list(
            "vertex_model_resource_name", flat=True
        )
    }
    if missing := counted - ours:
        yield f"counted but not in Vertex AI: {sorted(missing)}"
    found = " ".join(
        Finding.objects.filter(status__in=STANDING_FINDING_STATUSES).values_list(
            "subject", flat=True
        )
    )
    if unknown := {name for name in ours - counted if name not in found}:
        yield f"ours in Vertex AI, not counted and not found: {sorted(unknown)}"


def caches_are_recounts(world: World) -> Wrong:
    """I1: the version cache of each lineage is what its runs say."""
    del world
    for lineage in RegisteredModel.objects.all():
        runs = TrainingRun.objects.filter(
            registered_model=lineage, registration__in=HOLDS_POINTER
        ).order_by("-version")
        latest = runs.first()
        held = (lineage.total_versions, lineage.latest_run_id, lineage.vertex_model_resource_name)
        name = latest.vertex_model_resource_name if latest else ""
        now = (runs.count(), latest.pk if latest else None, name)
        if held != now:
            yield f"{lineage} holds {held}, its runs say {now}"


def versions_are_there(world: World) -> Wrong:
    """I2: every registered run is a version in Vertex AI that carries its label."""
    for run in TrainingRun.objects.filter(registration=Registration.REGISTERED):
        model_id = ModelName.parse(run.vertex_model_resource_name).model_id
        there = planes.version(world.cloud, model_id, run.vertex_model_version)
        label = there.labels.get(RUN) if there is not None else "nothing"
        if label != run.uid.hex:
            yield f"{run} is at {model_id}@{run.vertex_model_version}, where {label} is"


def artifacts_are_there(world: World) -> Wrong:
    """I3: a registered version has its artifacts, unless a finding says that they are gone."""
    from .world import prefix_of

    known = set(
        Finding.objects.filter(status__in=STANDING_FINDING_STATUSES).values_list(
            "run_id", flat=True
        )
    )
    for run in TrainingRun.objects.filter(registration=Registration.REGISTERED):
        there = any(planes.objects(world.cloud, prefix_of(run)))
        if run.gcs_artifacts_path and not there and run.pk not in known:
            yield f"{run} has no artifacts"


def services_match(world: World) -> Wrong:
    """I4: active endpoints and services with our labels are a bijection, run by run."""
    serving = {
        (e.service_name, e.uid.hex, e.run.uid.hex if e.run else "")
        for e in DeployedEndpoint.objects.filter(is_active=True).select_related("run")
    }
    shown = {
        (key, s.labels.get(ENDPOINT, ""), s.labels.get(RUN, ""))
        for key, s in planes.services(world.cloud).items()
        if s.labels.get(OWNER) == owner()
    }
    if serving != shown:
        yield f"rows serve {sorted(serving - shown)}, Cloud Run {sorted(shown - serving)}"
    states = DeployedEndpoint.objects.exclude(
        Q(is_active=True, state=EndpointState.ACTIVE)
        | Q(is_active=False, state=EndpointState.INACTIVE)
    )
    for endpoint in states:
        yield f"{endpoint} is {endpoint.state} and active={endpoint.is_active}"
    for endpoint in DeployedEndpoint.objects.filter(run__registration=Registration.DELETED):
        if endpoint.is_active or not endpoint.model_deleted:
            yield f"{endpoint} does not say that its model was deleted"


def nothing_is_under_way(world: World) -> Wrong:
    """I5: no live operation, nothing half deleted, nothing half deployed."""
    del world
    for operation in Operation.objects.filter(status__in=LIVE_OPERATION_STATUSES):
        yield f"{operation} lives at {operation.step}: {operation.error}"
    for run in TrainingRun.objects.filter(registration=Registration.DELETING):
        yield f"{run} is being deleted by nobody"


def one_version_each(world: World) -> Wrong:
    """I7: a run is at most one version, a live lineage at most one model."""
    found = planes.versions(world.cloud)
    runs = Counter(v.labels[RUN] for v in found if v.labels.get(RUN))
    known = set(
        Finding.objects.filter(status__in=STANDING_FINDING_STATUSES).values_list(
            "registered_model_id", flat=True
        )
    )
    for uid, number in runs.items():
        run = TrainingRun.objects.filter(uid=uuid.UUID(uid)).first()
        if number > 1 and not (run and run.registered_model_id in known):
            yield f"run {run} is {number} versions"


def deleted_is_deleted(world: World) -> Wrong:
    """I8: of a deleted run there is no version, no object and no service."""
    from .world import prefix_of

    deleted = TrainingRun.objects.filter(registration=Registration.DELETED)
    uids = {run.uid.hex: run for run in deleted}
    for v in planes.versions(world.cloud):
        if v.labels.get(RUN) in uids:
            yield f"{uids[v.labels[RUN]]} is deleted and still {v.model_id}@{v.version}"
    for run in deleted:
        if run.gcs_artifacts_path and any(planes.objects(world.cloud, prefix_of(run))):
            yield f"{run} is deleted and still has artifacts"
    for key, service in planes.services(world.cloud).items():
        if service.labels.get(OWNER) == owner() and service.labels.get(RUN) in uids:
            yield f"{uids[service.labels[RUN]]} is deleted and still served by {key}"


def destruction_is_recorded(world: World) -> Wrong:
    """I9, I12: each deletion in the cloud names an operation, which has ended and says it went."""
    for call in world.cloud.effects.mutations():
        destroys = call.method in (*DELETIONS, "storage.objects.delete", "Services.DeleteService")
        if not destroys or not call.reason.startswith("operation "):
            continue
        key = uuid.UUID(call.reason.removeprefix("operation "))
        operation = Operation.objects.filter(pk=key).first()
        if operation is None:
            yield f"{call.method} of {call.resource} by {key}, of which nothing is known"
        elif not (operation.steps and operation.finished_at and operation.actor_label):
            yield f"{call.method} of {call.resource} by {operation}, which has no outcome"


def jobs_match_schedules(world: World) -> Wrong:
    """I13: Cloud Scheduler has a job of each live schedule, and of no other."""
    kept = {job_id_of(schedule): schedule for schedule in TrainingSchedule.objects.all()}
    live = {name for name, schedule in kept.items() if schedule.state in LIVE_SCHEDULE_STATES}
    jobs = planes.jobs(world.cloud).keys() & kept.keys()
    for name in live ^ jobs:
        yield f"{kept[name]} is {kept[name].state}, its job is there: {name in jobs}"


def success_is_a_version(world: World) -> Wrong:
    """I14: a blessed run that was to be registered is a version, unless its artifacts are gone."""
    del world
    runs = TrainingRun.objects.filter(status__in=SUCCEEDED_RUN_STATUSES, is_blessed=True)
    for run in runs.filter(registration=Registration.NONE):
        asked = Operation.objects.filter(kind=OperationKind.REGISTER, subject_id=str(run.pk))
        said = asked.values_list("status", "error_code").order_by("-created_at").first()
        if said and said != (OperationStatus.FAILED, "artifacts_missing"):
            yield f"{run} cannot become a version: {said}"


SETTLED: Mapping[str, Callable[[World], Wrong]] = {
    "I1 one count": one_count,
    "I1 caches are recounts": caches_are_recounts,
    "I2 versions are there": versions_are_there,
    "I3 artifacts are there": artifacts_are_there,
    "I4 services match": services_match,
    "I5 nothing is under way": nothing_is_under_way,
    "I7 one version each": one_version_each,
    "I8 deleted is deleted": deleted_is_deleted,
    "I9 destruction is recorded": destruction_is_recorded,
    "I13 jobs match schedules": jobs_match_schedules,
    "I14 success is a version": success_is_a_version,
}
"""Name and predicate; a predicate yields what is wrong."""


def unsettled(world: World) -> list[str]:
    """Every broken one of SETTLED, in a sentence each."""
    return [f"{name}: {wrong}" for name, judge in SETTLED.items() for wrong in judge(world)]
