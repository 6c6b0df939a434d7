"""What holds when everything has come to rest: I1 to I15, over the rows and the cloud as they are.

I11 (one more reconcile writes nothing) is asked by who can reconcile: the driver of histories.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from django.db.models import Q, QuerySet
from google.cloud.scheduler_v1.types import Job

from ml_platform.cloud.names import ModelName
from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.kpis import four_counts
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    Manifest,
    Operation,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.endpoints.serving_truth import ServingTruth, with_serving_truth
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
    ScheduleState,
)
from ml_platform.services.artifacts.folders import MODEL_FILE, run_prefix
from ml_platform.services.findings.kinds import KINDS, FindingKind
from ml_platform.services.ownership.labels import ENDPOINT, LINEAGE, RUN
from ml_platform.services.scheduling.job import job_id_of
from ml_platform.services.scheduling.platform_jobs import jobs_set_up
from ml_platform.tests.event_log import disagreements

from . import planes
from .invariants import DELETIONS
from .people_jobs import THEIR_CRON, THEIR_TARGET

if TYPE_CHECKING:
    from ml_platform.localcloud.core.call_log import Call

    from .world import World

Wrong = Iterator[str]


def _standing(*kinds: str) -> QuerySet[Finding]:
    """What people are told, of these kinds."""
    return Finding.objects.filter(status__in=STANDING_FINDING_STATUSES, kind__in=kinds)


def one_count(world: World) -> Wrong:
    """I1: every place counts the same lineages, which are our models in Vertex AI; what else is
    there with our label is a finding that names it."""
    models = [v.model_id for v in planes.versions(world.cloud) if planes.is_ours(v.labels)]
    ours = set(models)
    counted = {
        ModelName.parse(name).model_id
        for name in RegisteredModel.objects.registered().values_list(
            "vertex_model_resource_name", flat=True
        )
    }
    told = four_counts()
    if {told.database, told.projects, told.registry_page} != {len(counted)}:
        yield f"{len(counted)} lineages are counted as {told}"
    if missing := counted - ours:
        yield f"counted but not in Vertex AI: {sorted(missing)}"
    subjects = _standing(*KINDS).values_list("subject", flat=True)
    found = {subject.rpartition("/")[2] for subject in subjects}
    if unknown := ours - counted - found:
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


def the_fifth_count_is_true(world: World) -> Wrong:
    """I21: an endpoint is counted as verified only if each revision that its requests reach reads
    the files of a registered version, as they were registered; as unverified, only if one does
    not."""
    active = DeployedEndpoint.objects.filter(is_active=True)
    for endpoint in with_serving_truth(active, now=world.now()):
        whole = _serves_versions(world, endpoint.service_name)
        counted = endpoint.serving_truth
        never = ServingTruth.UNVERIFIED if whole else ServingTruth.VERIFIED
        if counted == never:
            yield f"{endpoint} is counted as {counted}; it serves versions only: {whole}"


def _serves_versions(world: World, key: str) -> bool:
    """Whether the local cloud has the service, and each of its revisions with requests reads a
    version's files."""
    if key not in planes.services(world.cloud):
        return False
    read = planes.addresses_served_by(world.cloud, key)
    there = {(v.model_id, v.version) for v in planes.versions(world.cloud)}
    manifests = Manifest.objects.filter(run__registration__in=HOLDS_POINTER).select_related("run")
    held = {
        manifest.folder.rstrip("/")
        for manifest in manifests
        if _pointer_of(manifest.run) in there
        and planes.digest_of(world.cloud, manifest.folder) == manifest.digest
    }
    return bool(read) and read <= held


def _pointer_of(run: TrainingRun) -> tuple[str, str]:
    name = ModelName.parse(run.vertex_model_resource_name)
    return name.model_id, run.vertex_model_version


def artifacts_are_there(world: World) -> Wrong:
    """I3: a registered version has the model that Vertex AI says it is of, unless a finding says
    that it is gone."""
    known = set(_standing(FindingKind.ARTIFACTS_MISSING).values_list("run_id", flat=True))
    for run in TrainingRun.objects.filter(registration=Registration.REGISTERED):
        if run.gcs_artifacts_path and run.pk not in known:
            key = f"{_artifacts_of(world, run)}/{MODEL_FILE}".removeprefix(f"gs://{planes.BUCKET}/")
            if key not in {name for name, _ in planes.objects(world.cloud, key)}:
                yield f"{run} has no {key}"


def _named_by(run: TrainingRun) -> set[str]:
    """The labels of revisions that serve a run: those of an adopted service have none of ours."""
    return {run.uid.hex, *([""] if "adopted_from" in run.parameters else ())}


def _artifacts_of(world: World, run: TrainingRun) -> str:
    """Where Vertex AI says that the model of this version, or of the one it was, is."""
    pointer = ModelName.parse(
        run.last_vertex_version
        if run.registration == Registration.LOST
        else f"{run.vertex_model_resource_name}@{run.vertex_model_version}"
    )
    there = planes.version(world.cloud, pointer.model_id, pointer.version)
    return there.artifact_uri.rstrip("/") if there else f"{run_prefix(run=run)}pushed_model/1"


def services_match(world: World) -> Wrong:
    """I4: active endpoints and services with our labels are a bijection, run by run; a service
    that no row of a restored backup knows is a finding."""
    serving = {
        (e.service_name, e.uid.hex, e.run.uid.hex if e.run else "")
        for e in DeployedEndpoint.objects.filter(is_active=True).select_related("run")
    }
    unknown = _standing(FindingKind.LEFTOVER_SERVICE).filter(registered_model=None)
    told = set(unknown.values_list("subject", flat=True))
    shown = {
        (key, s.labels.get(ENDPOINT, ""), s.labels.get(RUN, ""))
        for key, s in planes.services(world.cloud).items()
        if planes.is_ours(s.labels) and f"service {key}" not in told
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


def the_version_is_what_serves(world: World) -> Wrong:
    """I4: all requests reach the endpoint's version, which is no deleted one, at its artifacts."""
    shown = planes.services(world.cloud)
    for endpoint in DeployedEndpoint.objects.filter(is_active=True).select_related("run"):
        run, key = endpoint.run, endpoint.service_name
        if run is None or key not in shown:
            continue
        if run.registration not in (Registration.REGISTERED, Registration.LOST):
            yield f"{endpoint} serves {run}, which is {run.registration}"
        elif not (served := planes.served_by(world.cloud, key)) or served - _named_by(run):
            yield f"{endpoint} serves {run.uid.hex}, and its traffic goes to {sorted(served)}"
        elif (uri := planes.env_of(shown[key])[ARTIFACT_ENV]) != _artifacts_of(world, run):
            yield f"{endpoint} serves {run} from {uri}, not {_artifacts_of(world, run)}"


def settings_are_ours(world: World) -> Wrong:
    """I4: a service has the settings that its endpoint records, or a finding says that it was
    changed."""
    told = set(_standing(FindingKind.SERVICE_CHANGED).values_list("subject", flat=True))
    shown = planes.services(world.cloud)
    for endpoint in DeployedEndpoint.objects.filter(is_active=True):
        key = endpoint.service_name
        if key not in shown or f"service {key}" in told:
            continue
        template, config = shown[key].template, endpoint.config
        container = template.containers[0]
        found = {
            "image": container.image,
            "memory": container.resources.limits["memory"],
            "max_instances": template.scaling.max_instance_count,
        }
        ports = [port.container_port for port in container.ports]
        if ports != [8080] or any(config[name] != value for name, value in found.items()):
            yield f"{endpoint} records {config}, Cloud Run has {found} at {ports}"


def nothing_is_under_way(world: World) -> Wrong:
    """I5: no live operation, nothing half deleted, nothing half deployed."""
    del world
    for operation in Operation.objects.filter(status__in=LIVE_OPERATION_STATUSES):
        yield f"{operation} lives at {operation.step}: {operation.error}"
    for run in TrainingRun.objects.filter(registration=Registration.DELETING):
        yield f"{run} is being deleted by nobody"


def no_mark_of_a_cleanup_is_left(world: World) -> Wrong:
    """I5: a run that our rows say has no artifacts has none."""
    for run in TrainingRun.objects.filter(gcs_artifacts_path=""):
        if any(planes.objects(world.cloud, run_prefix(run=run).key)):
            yield f"{run} has artifacts that its row does not know"


def one_version_each(world: World) -> Wrong:
    """I7: a run is at most one version, a live name at most one model, or a finding names it."""
    ours = [v for v in planes.versions(world.cloud) if planes.is_ours(v.labels)]
    told = _standing(
        FindingKind.SURPLUS_VERSION, FindingKind.UNMANAGED, FindingKind.VERSION_MISMATCH
    ).values_list("subject", flat=True)
    known = {subject.rpartition("/")[2] for subject in told}
    unsaid = [v for v in ours if v.model_id not in known]
    for uid, number in Counter(v.labels[RUN] for v in unsaid if v.labels.get(RUN)).items():
        if number > 1:
            yield f"run {uid} is {number} versions"
    models = {(v.labels[LINEAGE], v.model_id) for v in unsaid if v.labels.get(LINEAGE)}
    for uid, number in Counter(lineage for lineage, _ in models).items():
        if number > 1:
            yield f"lineage {uid} is {number} models"


def deleted_is_deleted(world: World) -> Wrong:
    """I8: of a deleted run there is no version, no service, and no object that nobody uses."""
    from .world import prefix_of

    deleted = TrainingRun.objects.filter(registration=Registration.DELETED)
    uids = {run.uid.hex: run for run in deleted}
    for v in planes.versions(world.cloud):
        if v.labels.get(RUN) in uids and v.model_id not in world.copies:
            yield f"{uids[v.labels[RUN]]} is deleted and still {v.model_id}@{v.version}"
    for run in deleted:
        left = run.gcs_artifacts_path and any(planes.objects(world.cloud, prefix_of(run)))
        if left and not planes.users_of(prefix_of(run), planes.pointers(world.cloud)):
            yield f"{run} is deleted and still has artifacts"
    for key, service in planes.services(world.cloud).items():
        if planes.is_ours(service.labels) and service.labels.get(RUN) in uids:
            yield f"{uids[service.labels[RUN]]} is deleted and still served by {key}"


def destruction_is_recorded(world: World) -> Wrong:
    """I9, I12: each deletion in the cloud is of an operation, which has ended and says it went."""
    for call in world.cloud.effects.mutations():
        destroys = call.method in (*DELETIONS, "storage.objects.delete", "Services.DeleteService")
        if call.seq in world.not_judged:
            continue
        if not destroys or not call.reason.startswith("operation "):
            continue
        key = uuid.UUID(call.reason.removeprefix("operation "))
        operation = Operation.objects.filter(pk=key).first()
        if operation is None:
            yield f"{call.method} of {call.resource} by {key}, of which nothing is known"
        elif not (operation.steps and operation.finished_at and operation.actor_label):
            yield f"{call.method} of {call.resource} by {operation}, which has no outcome"
        elif not _says_so(operation, call):
            yield f"{call.method} of {call.resource} by {operation}, whose record does not name it"


def _says_so(operation: Operation, call: Call) -> bool:
    """Whether the record of an operation names what it destroyed."""
    if call.method.startswith("Services."):
        return operation.service_key == call.resource.rpartition("/")[2]
    if call.method.startswith("storage."):
        if operation.kind != OperationKind.DELETE:
            return True
        folder = call.detail["name"].split("/")[1]
        runs = TrainingRun.objects.filter(pk__in=operation.data["runs"])
        return folder in {run.uid.hex for run in runs}
    name = re.escape(call.resource.rpartition("/")[2])
    return bool(re.search(rf"/models/{name}(?![@\w-])", str([operation.steps, operation.data])))


def jobs_match_schedules(world: World) -> Wrong:
    """I13: Cloud Scheduler has a job of each live schedule, and of no other; each rings or is
    paused as its schedule says, at the hours and the address that we gave it."""
    kept = {job_id_of(schedule): schedule for schedule in TrainingSchedule.objects.all()}
    live = {name for name, schedule in kept.items() if schedule.state in LIVE_SCHEDULE_STATES}
    jobs = planes.jobs(world.cloud).keys() & kept.keys()
    for name in live ^ jobs:
        yield f"{kept[name]} is {kept[name].state}, its job is there: {name in jobs}"
    shown = planes.jobs(world.cloud)
    for name in sorted(live & jobs):
        job, rings = shown[name], kept[name].state == ScheduleState.ACTIVE
        if (job.state == Job.State.ENABLED) != rings:
            yield f"{kept[name]} is {kept[name].state}, its job is {job.state}"
    ours = {*(live & jobs), *(shown.keys() & jobs_set_up().keys())}
    for name in sorted(ours):
        if shown[name].schedule == THEIR_CRON or shown[name].http_target.uri == THEIR_TARGET:
            yield f"the job {name} is as people changed it"
    for name in sorted(jobs_set_up()):
        if name not in shown or shown[name].state != Job.State.ENABLED:
            yield f"the job {name} was set up and does not ring"


def success_is_a_version(world: World) -> Wrong:
    """I14: a blessed run that was to be registered is a version, unless its artifacts are gone."""
    del world
    runs = TrainingRun.objects.filter(status__in=SUCCEEDED_RUN_STATUSES, is_blessed=True)
    cleaned = Q(gcs_artifacts_path="")
    for run in runs.filter(registration=Registration.NONE).exclude(cleaned):
        asked = Operation.objects.filter(kind=OperationKind.REGISTER, subject_id=str(run.pk))
        begun = asked.exclude(step="").order_by("-created_at")
        said = begun.values_list("status", "error_code").first()
        if said and said != (OperationStatus.FAILED, "artifacts_missing"):
            yield f"{run} cannot become a version: {said}"


SETTLED: Mapping[str, Callable[[World], Wrong]] = {
    "I1 one count": one_count,
    "I1 caches are recounts": caches_are_recounts,
    "I2 versions are there": versions_are_there,
    "I3 artifacts are there": artifacts_are_there,
    "I21 the fifth count is true": the_fifth_count_is_true,
    "I4 services match": services_match,
    "I4 the version is what serves": the_version_is_what_serves,
    "I4 settings are ours": settings_are_ours,
    "I5 nothing is under way": nothing_is_under_way,
    "I5 no mark of a cleanup is left": no_mark_of_a_cleanup_is_left,
    "I7 one version each": one_version_each,
    "I8 deleted is deleted": deleted_is_deleted,
    "I9 destruction is recorded": destruction_is_recorded,
    "I13 jobs match schedules": jobs_match_schedules,
    "I14 success is a version": success_is_a_version,
    "I15 each change has its event": lambda world: iter(disagreements()),
}
"""Name and predicate; a predicate yields what is wrong."""


def unsettled(world: World) -> list[str]:
    """Every broken one of SETTLED, in a sentence each."""
    return [f"{name}: {wrong}" for name, judge in SETTLED.items() for wrong in judge(world)]
