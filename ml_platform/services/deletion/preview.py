"""The preview of a deletion: its plan from the facts of all planes, read now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from ml_platform.cloud import cloud_run
from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.types import RemoteModel, RemoteService
from ml_platform.errors import CloudAbsent, Conflict, Invalid
from ml_platform.models import EndpointTraffic, RegisteredModel, TrainingRun
from ml_platform.models.endpoints.endpoint_traffic import traffic_words
from ml_platform.models.states import Registration
from ml_platform.services.artifacts.folders import UnsafePath, deletable_prefix, measure
from ml_platform.services.mirror.brake import require_believed
from ml_platform.services.operations.locks import Locks, read_locks
from ml_platform.services.ownership.labels import RUN
from ml_platform.services.registry.protection import ProtectedAlias, why_protected
from ml_platform.services.registry.verification import (
    ForeignVersion,
    is_another,
    read_versions,
    require_own_version,
)
from ml_platform.services.removal.guard import Going, users_of
from ml_platform.services.removal.references import Pointers, names_of

from .files import read_users, what_brings_back
from .plan import (
    Block,
    DeletionPlan,
    DeployedModel,
    ServiceFacts,
    VersionFacts,
    plan_deletion,
    served_in_vertex_ai,
)
from .state import pointer_of

T = TypeVar("T")
USERS = "Users of the artifacts"
DELETABLE = (Registration.REGISTERED, Registration.DELETING, Registration.LOST)


def preview_deletion(*, lineage: RegisteredModel, runs: Sequence[TrainingRun]) -> DeletionPlan:
    """Plan the deletion by what Google answers now."""
    unknown: list[str] = []
    services = _read("Cloud Run", lambda: services_of(runs), unknown)
    refused = _read("Vertex AI", lambda: refused_versions(runs), unknown)
    users = None if unknown else _read(USERS, read_users, unknown)
    pointers, when = users or (None, "")

    def look(facts: VersionFacts, run: TrainingRun) -> VersionFacts:
        facts = replace(facts, refused=(refused or {}).get(run.pk))
        return _with_files(facts, run, runs, pointers, unknown)

    plan = plan_by_rows(
        lineage=lineage, runs=runs, locks=read_locks([lineage]), look=look, services=services or ()
    )
    plan = replace(plan, unknown=tuple(dict.fromkeys(unknown)))
    if not any(version.size for version in plan.versions):
        return plan
    return replace(plan, files_go=when, files_brought_back=what_brings_back())


def plan_by_rows(
    *,
    lineage: RegisteredModel,
    runs: Sequence[TrainingRun],
    locks: Locks,
    look: Callable[[VersionFacts, TrainingRun], VersionFacts] = lambda facts, run: facts,
    services: Sequence[ServiceFacts] = (),
) -> DeletionPlan:
    """Plan the deletion by our rows; `look` adds Google's facts to each version to delete."""
    doomed = {run.pk for run in runs}
    versions = [
        look(_doomed_facts(run), run) if run.pk in doomed else _version_facts(run)
        for run in lineage.training_runs.filter(registration__in=DELETABLE).order_by("version")
    ]
    plan = plan_deletion(
        versions=versions,
        doomed=doomed,
        endpoints=lineage.deployed_endpoints.all(),
        traffic=EndpointTraffic.objects.filter(run__in=doomed).select_related("endpoint", "run"),
        services=services,
        busy=locks.busy(lineage.model_name, lineage),
    )
    planned = {version.run_id for version in plan.versions}
    strangers = [
        Conflict(
            f"{run} is not a version of {lineage}.",
            code="no_version",
            advice="Only a registered version can be deleted.",
        )
        for run in runs
        if run.pk not in planned
    ]
    return replace(plan, blocks=(*(Block(error=one) for one in strangers), *plan.blocks))


def _read(plane: str, read: Callable[[], T], unknown: list[str]) -> T | None:
    """Read a plane. Without an answer its facts are unknown, and the plan lists it as unread."""
    answer = ask(read)
    if isinstance(answer, Present):
        return answer.value
    unknown.append(f"{plane}: {answer.reason}")
    return None


def services_of(runs: Sequence[TrainingRun]) -> list[ServiceFacts]:
    """The services that serve one of the runs, as Cloud Run shows them now. Any owner label counts,
    because a run's uid is unique.

    :raises PlaneShrunk: Cloud Run suddenly lacks services, so what does not serve is unknown.
    """
    require_believed("cloud_run")
    uids = {run.uid.hex for run in runs}
    return [
        ServiceFacts(service_name=service.service_id, run_uid=uid, by=by)
        for page in cloud_run.list_services()
        for service in page
        for uid, by in sorted(_served_by(service, uids).items())
    ]


def _served_by(service: RemoteService, uids: Collection[str]) -> dict[str, str]:
    """Which of the runs the newest revision serves, or another one that requests may reach; and
    which revision that is, in words.

    A revision whose labels were removed, or that was given other files, has the address of its
    model.
    """
    newest = service.latest_created_revision
    found = dict.fromkeys(_runs_of(service.labels, service.env.get(ARTIFACT_ENV, ""), uids), newest)
    for revision in service.serving:
        if revision != newest:
            with suppress(CloudAbsent):  # a revision that is gone serves nothing
                seen = cloud_run.get_revision(service.service_id, revision)
                for uid in _runs_of(seen.labels, " ".join(seen.texts), uids):
                    found.setdefault(uid, revision)
    return {uid: f"revision {name} has {_gets(service, name)}" for uid, name in found.items()}


def _runs_of(labels: Mapping[str, str], model: str, uids: Collection[str]) -> set[str]:
    return {uid for uid in uids if uid == labels.get(RUN, "") or uid in model}


def _gets(service: RemoteService, revision: str) -> str:
    shares = [
        share
        for share in service.traffic
        if (share.revision or service.latest_ready_revision) == revision
    ]
    tags = ", ".join(share.tag for share in shares if share.tag)
    return traffic_words(sum(share.percent for share in shares), tags)


def refused_versions(runs: Iterable[TrainingRun]) -> dict[int, ForeignVersion | DeployedModel]:
    """Versions that may not be deleted, by the run's id: why.

    One without our labels of its run is not gone and may be another owner's: what is foreign is not
    absent (law 3). One that an endpoint of Vertex AI serves is refused there, minutes later.
    """
    found: dict[int, ForeignVersion | DeployedModel] = {}
    for name, group in _by_model(runs).items():
        try:
            there = {model.version: model for model in read_versions(name)}
        except CloudAbsent:
            continue
        for version, run in group:
            model = there.get(version)
            try:
                if model and not is_another(model, run):
                    require_deletable(model, run)
            except (ForeignVersion, DeployedModel) as error:
                found[run.pk] = error
    return found


def require_deletable(model: RemoteModel, run: TrainingRun) -> None:
    """Check a version as Vertex AI has it, before it is deleted.

    :raises ForeignVersion: it does not have our labels of this run.
    :raises DeployedModel: an endpoint of Vertex AI serves it.
    """
    require_own_version(model, run)
    if model.endpoints:
        raise served_in_vertex_ai(model)


def _by_model(runs: Iterable[TrainingRun]) -> dict[ModelName, list[tuple[str, TrainingRun]]]:
    """Each run with the number of its version, by the model; invalid names are left out."""
    found: dict[ModelName, list[tuple[str, TrainingRun]]] = {}
    for run in runs:
        with suppress(Invalid):
            pointer = pointer_of(run)
            found.setdefault(pointer.bare, []).append((pointer.version, run))
    return found


def _with_files(
    facts: VersionFacts,
    run: TrainingRun,
    runs: Collection[TrainingRun],
    pointers: Pointers | None,
    unknown: list[str],
) -> VersionFacts:
    """The same with the number and size of its files, and their other users."""
    prefix = None if facts.unsafe else deletable_prefix(run=run)
    if prefix is None:
        return facts
    size = _read("GCS", lambda: measure(prefix=prefix), unknown)
    users = pointers and _read(
        USERS, lambda: users_of(str(prefix), pointers, _going(runs)), unknown
    )
    return replace(facts, size=size, used_by=names_of(users or (), project_id=run.project_id))


def _going(runs: Collection[TrainingRun]) -> Going:
    """What goes with the files: the rows, and the versions that they point at."""
    models = _by_model(runs).items()
    versions = {(name.model_id, version) for name, group in models for version, _ in group}
    return Going(rows={run.pk for run in runs}, versions=versions)


def _version_facts(run: TrainingRun) -> VersionFacts:
    name, version = run.vertex_model_resource_name, run.vertex_model_version
    kept = why_protected(f"{run.model_name} v{run.version}", run.aliases)
    return VersionFacts(
        run_id=run.pk,
        run_uid=run.uid.hex,
        number=run.version or 0,
        vertex=f"{name}@{version}" if name else "",
        aliases=tuple(run.aliases),
        protected=ProtectedAlias(kept) if kept else None,
    )


def _doomed_facts(run: TrainingRun) -> VersionFacts:
    facts = _version_facts(run)
    try:
        deletable_prefix(run=run)
    except UnsafePath as error:
        return replace(facts, unsafe=error)
    return facts
