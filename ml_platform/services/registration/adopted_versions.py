"""What both adoptions share: versions of Vertex AI become runs of a lineage, and get our labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from django.contrib.auth import get_user_model

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.types import RemoteModel
from ml_platform.errors import CloudAbsent, CloudRejected, CloudUnavailable, Invalid
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.registry.manifest import ManifestOrigin
from ml_platform.models.states import (
    DEPLOYABLE_RUN_STATUSES,
    EventKind,
    Registration,
    RunStatus,
)
from ml_platform.services.artifacts.manifest import Taken, keep_manifest, take_manifest, trust_label
from ml_platform.services.installation.identity import identity
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Continue, Outcome
from ml_platform.services.ownership.labels import (
    DIGEST,
    INSTALLATION,
    OWNER,
    RUN,
    is_uid,
    labels_for,
)
from ml_platform.services.registry.aliases import record_alias
from ml_platform.services.registry.lineages import record_version, sync_version_cache
from ml_platform.services.registry.protection import protected_of
from ml_platform.services.registry.verification import may_still_appear
from ml_platform.services.repairs.steps import RepairState
from ml_platform.services.repairs.unmanaged_models import Managed

from .vertex_facts import kept_parameters, metrics_of, unknown_words


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedState(RepairState):
    """What the steps of an adoption hand on."""

    name: str = ""
    """The model's resource name, as it was requested."""
    location: str = ""
    """As Vertex AI gives it."""
    versions: tuple[Mapping[str, Any], ...] = ()
    runs: tuple[int, ...] = ()
    """The runs that the versions became, in the same order."""
    labeled: int = 0
    """How many of the runs have our labels in Vertex AI."""
    unknown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What Vertex AI does not tell, and of which versions."""
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The runs that the versions are, by the number in Vertex AI, with when they were registered:
    what an import knows of them."""


S = TypeVar("S", bound=AdoptedState)


def require_no_owner(name: ModelName, versions: Iterable[RemoteModel]) -> None:
    """Check that no version has the labels of another installation.

    :raises Managed: one has.
    """
    us = identity()
    said = [(v.labels.get(OWNER, ""), v.labels.get(INSTALLATION, "")) for v in versions]
    if others := {owner or uid for owner, uid in said if us.is_another(owner, uid)}:
        raise Managed(f"{name} has the owner label of {', '.join(sorted(others))}.")


# ---- the rows ----------------------------------------------------------------------------------


def record_adopted(work: Work[S], lineage: RegisteredModel) -> None:
    """Make the versions those of the lineage, which the caller's transaction has locked.

    A version that is known to be a run's, or has the label of a run of the lineage without a
    version, becomes that run's; each other one becomes a new run. A protected alias that one of our
    versions has stays there: whether it moved is for a person to decide.
    """
    state, name, now = work.state, ModelName.parse(work.state.location), work.clock()
    held = set(
        chain.from_iterable(lineage.training_runs.versions().values_list("aliases", flat=True))
    )
    number, runs = lineage.next_version, list[TrainingRun]()
    for version in state.versions:
        earlier = _labelled(version, lineage)
        own = earlier if earlier and _waits(earlier, lineage) else None
        imported = _imported(work, lineage, version)
        run = imported or own or _new_run(lineage, version, earlier, now)
        if not run.version:
            run.version, number = number, number + 1
        run.registered_model, run.registration = lineage, Registration.REGISTERED
        run.vertex_model_resource_name, run.vertex_model_name = str(name), lineage.model_name
        run.vertex_model_version = version["version"]
        run.registered_at = _registered_at(state.known.get(version["version"], {}), version, now)
        kept = {alias for alias in version["aliases"] if alias in held and protected_of([alias])}
        run.aliases = sorted({*version["aliases"]} - kept)
        run.save()
        runs.append(run)
    RegisteredModel.objects.filter(pk=lineage.pk).update(next_version=number)
    sync_version_cache(registered_model=lineage)
    for run in runs:
        for alias in run.aliases:
            record_alias(alias, lineage_id=lineage.pk, run_id=run.pk)
        record_version(
            EventKind.MODEL_REGISTERED,
            run=run,
            before=Registration.NONE,
            vertex_version=f"{name}@{run.vertex_model_version}",
            operation=work.operation,
        )
    creators = [f"v{run.version}" for run in runs if not _creator_of(run)]
    unknown = {**state.unknown, **({"creator": tuple(creators)} if creators else {})}
    work.state = replace(state, runs=tuple(run.pk for run in runs), unknown=unknown)
    Operation.objects.filter(pk=work.operation.pk).update(lineage=lineage)


def _labelled(version: Mapping[str, Any], lineage: RegisteredModel) -> TrainingRun | None:
    """The run that the version's label names, if it is of the same project (law 10)."""
    uid = version.get("labels", {}).get(RUN, "")
    if not is_uid(uid):
        return None
    return TrainingRun.objects.filter(uid=uid, project_id=lineage.project_id).first()


def _imported(
    work: Work[S], lineage: RegisteredModel, version: Mapping[str, Any]
) -> TrainingRun | None:
    """The run that an import knows to be this version, with what Vertex AI tells of it too."""
    known = work.state.known.get(version["version"], {})
    free = TrainingRun.objects.filter(project_id=lineage.project_id, registration=Registration.NONE)
    run = free.filter(pk=known["run"]).first() if known else None
    if run is not None:
        run.model_name = lineage.model_name
        run.parameters = {**run.parameters, **kept_parameters(version)}
    return run


def _registered_at(known: Mapping[str, Any], version: Mapping[str, Any], now: datetime) -> datetime:
    """When it was registered, as an import knows, but not before it was made; otherwise now."""
    told = [text for text in (known.get("registered_at"), version["made"]) if text]
    return max(map(datetime.fromisoformat, told)) if known.get("registered_at") else now


def _waits(run: TrainingRun, lineage: RegisteredModel) -> bool:
    """Whether it is a run of the lineage that never became a version."""
    ended = run.status in DEPLOYABLE_RUN_STATUSES and bool(run.gcs_artifacts_path)
    named = run.model_name == lineage.model_name
    return named and ended and run.registration == Registration.NONE


def _new_run(
    lineage: RegisteredModel,
    version: Mapping[str, Any],
    earlier: TrainingRun | None,
    now: datetime,
) -> TrainingRun:
    """A completed run that nobody judged. What an earlier run of ours knew of it is taken over."""
    made = datetime.fromisoformat(version["made"]) if version["made"] else now
    users = get_user_model()._default_manager  # noqa: SLF001 - Django's documented name
    creator = version.get("creator", "")  # an operation of the release before does not have it
    by = {f"{get_user_model().USERNAME_FIELD}__iexact": creator}
    user = users.filter(**by).first() if creator else None
    return TrainingRun(
        project_id=lineage.project_id,
        model_name=lineage.model_name,
        model_type=version.get("type") or (earlier.model_type if earlier else lineage.model_type),
        status=RunStatus.COMPLETED,
        progress=100,
        parameters=kept_parameters(version),
        metrics=earlier.metrics if earlier else {},
        created_by=(earlier.created_by if earlier else None) or user,
        created_at=made,
        finished_at=made,
    )


def _creator_of(run: TrainingRun) -> str:
    told = run.parameters.get("adopted", {})
    return str(run.created_by or (told.get("creator", "") if isinstance(told, dict) else ""))


# ---- the step that labels ------------------------------------------------------------------------


def label_next(work: Work[S]) -> Outcome | None:
    """Write our labels on the next version, and keep its files and metrics; None after the last.

    An update replaces all labels, and others may have set some since the first step. They are read
    again here, so that only ours change (law 13). A repetition changes nothing.
    """
    done, runs = work.state.labeled, work.state.runs
    if done == len(runs):
        return None
    run = TrainingRun.objects.select_related("registered_model").get(pk=runs[done])
    name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    taken = _files(work.state.versions[done]["artifact_uri"])
    try:
        version = vertex.get_model(name)
    except CloudAbsent as absent:  # it was listed when it was recorded
        if poll := may_still_appear(absent, run.registered_at, now=work.clock()):
            return poll
        raise
    require_no_owner(name, [version])
    # The digest that an earlier registration of ours wrote says what its files were then.
    digest = version.labels.get(DIGEST, "") if OWNER in version.labels else ""
    ours = labels_for(
        lineage=run.registered_model.uid if run.registered_model else None,
        run=run.uid,
        operation=work.operation.pk,
        digest=digest or (taken.digest if taken else ""),
    )
    metrics = {} if run.metrics else _metrics(name)
    vertex.update_model_labels(name, dict(version.labels) | ours)
    unknown = dict(work.state.unknown)
    for what, known in (("metrics", run.metrics or metrics), ("files", taken)):
        if not known:
            unknown[what] = (*unknown.get(what, ()), f"v{run.version}")
    work.state = replace(work.state, labeled=done + 1, unknown=unknown)
    note = str(name) if taken else f"{name}: its files could not be listed; a sweep tries again."
    return Continue(note=note, change=partial(_keep, run, taken, digest, metrics, work.clock()))


def _files(uri: str) -> Taken | None:
    """The files of an adopted version; None if they cannot be listed, which forbids no adoption."""
    try:
        return take_manifest(uri, needs="")
    except (Invalid, CloudAbsent, CloudUnavailable, CloudRejected):
        return None


def _metrics(name: ModelName) -> dict[str, float]:
    """The metrics of its evaluations in Vertex AI; without an answer they are unknown too."""
    answer = ask(lambda: list(chain.from_iterable(vertex.list_evaluations(name))))
    return metrics_of(answer.value) if isinstance(answer, Present) else {}


def _keep(
    run: TrainingRun, taken: Taken | None, digest: str, metrics: Mapping[str, float], now: datetime
) -> None:
    if metrics:
        TrainingRun.objects.filter(pk=run.pk, metrics={}).update(metrics=dict(metrics))
    if taken:
        keep_manifest(run, taken, ManifestOrigin.ADOPTION, now)
        trust_label(run, digest)


def what_is_unknown(state: AdoptedState) -> str:
    """A sentence of what Vertex AI did not tell, and that nobody judged what it has."""
    told = unknown_words(state.unknown, len(state.runs))
    judged = TrainingRun.objects.filter(pk__in=state.runs, is_blessed__isnull=False).exists()
    return f"{told} {'' if judged else 'Not judged: approve a version to deploy it.'}".strip()
