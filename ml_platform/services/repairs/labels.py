"""Relabel: write our labels on a version of ours whose labels others replaced (law 3).

Nothing else is written: the labels of others and aliases stay (law 13).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Absent
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.types import RemoteModel
from ml_platform.errors import CloudConflict, NotFound
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.locking import update_rows
from ml_platform.models.states import OperationKind, Registration, RegistryState
from ml_platform.services.artifacts.manifest import digest_of
from ml_platform.services.deployment.same_files import difference_now
from ml_platform.services.findings.discrepancy import pointer_text
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.subjects import subject_of_lineage, version_name
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow
from ml_platform.services.ownership.identification import reason_not_ours
from ml_platform.services.ownership.labels import (
    RUN,
    is_uid,
    is_version_of,
    labels_for,
    other_owner,
)

from .steps import CLOSE, NotOurs, RepairState, nothing_to_repair, open_repair, read, read_present


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelState(RepairState):
    """What the relabeling of a version remembers."""

    run: int = 0
    etag: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """All labels to write: ours, and those that others had set when they were read."""


def relabel_version(
    *, run: TrainingRun, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Write our labels on a version whose creation time, address and files are those of our rows.

    :raises Busy: another operation holds the lineage.
    """
    return open_repair(
        workflow=WORKFLOW,
        subject=subject_of_lineage(registered_model, name=version_name(run)),
        state=LabelState(run=run.pk),
        kinds=[FindingKind.LABELS_CHANGED],
        about=pointer_text(run),
        actor=actor,
        now=now,
    )


def _look_at_version(work: Work[LabelState]) -> Outcome:
    run = _run(work)
    if run.registration != Registration.REGISTERED:
        return nothing_to_repair(work, f"{run} is no version now.")
    answer = read(lambda: vertex.get_model(_pointer(run)), service="Vertex AI")
    if isinstance(answer, Absent):
        return nothing_to_repair(work, answer.reason)
    model = answer.value
    if is_version_of(model, run):
        note = f"{model.pointer} has our labels."
        return Next(to="confirm", note=note) if work.state.labels else nothing_to_repair(work, note)
    _require_evidence(run, model)
    lineage = run.registered_model
    ours = labels_for(
        lineage=lineage.uid if lineage else None,
        run=run.uid,
        operation=work.operation.pk,
        digest=digest_of(run),
    )
    labels = dict(model.labels) | ours
    work.state = replace(work.state, etag=model.etag, labels=labels)
    return Next(to="relabel", note=f"{model.pointer} is ours by its time, address and files.")


def _require_evidence(run: TrainingRun, model: RemoteModel) -> None:
    """Check that the version is the one that we registered.

    :raises NotOurs: something says otherwise, or a file differs from its manifest.
    """
    why = reason_not_ours(
        run,
        theirs=other_owner(model.labels),
        made_at=model.version_create_time or model.create_time,
        artifact_uri=model.artifact_uri,
    )
    uid = model.labels.get(RUN, "")
    if is_uid(uid) and TrainingRun.objects.filter(uid=uid).exclude(pk=run.pk).exists():
        why = why or "its label names another run of ours"
    if not why:
        different = read(lambda: difference_now(run, model.artifact_uri), service="Cloud Storage")
        if isinstance(different, Absent):
            why = "its files are gone"
        elif different.value:
            why = f"its files are not those of its manifest: {different.value}"
    if why:
        raise NotOurs(f"{model.pointer} is not proven to be {version_name(run)}: {why}.")


def _relabel_version(work: Work[LabelState]) -> Outcome:
    pointer = _pointer(_run(work))
    vertex.update_model_labels(pointer, work.state.labels, etag=work.state.etag)
    return Next(to="confirm", note=f"Our labels are beside those of others on {pointer}.")


def _confirm_version(work: Work[LabelState]) -> Outcome:
    run = _run(work)
    model = read_present(lambda: vertex.get_model(_pointer(run)), service="Vertex AI", sent=True)
    if not is_version_of(model, run):
        raise CloudConflict(f"{model.pointer} does not show our labels.")
    return Next(to="close", note=f"{model.pointer} has our labels.", change=partial(_seen, run))


def _seen(run: TrainingRun) -> None:
    """The next sweep decides whether the model is verified."""
    rows = RegisteredModel.objects.filter(pk__in=[run.registered_model_id])
    update_rows(
        rows.filter(registry_state=RegistryState.FOREIGN), registry_state=RegistryState.UNCHECKED
    )


def _run(work: Work[LabelState]) -> TrainingRun:
    run = TrainingRun.objects.select_related("registered_model").filter(pk=work.state.run).first()
    if run is None:
        raise NotFound("The run of this version was deleted.")
    return run


def _pointer(run: TrainingRun) -> ModelName:
    return ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)


WORKFLOW = Workflow(
    slug="relabel-version",
    kind=OperationKind.REPAIR,
    title="Relabel {}",
    past="relabeled {}",
    state=LabelState,
    steps=(
        Step(
            name="look",
            title="Read the version and its files",
            run=_look_at_version,
            cancellable=True,
        ),
        Step(name="relabel", title="Write our labels", run=_relabel_version, probe="look"),
        Step(name="confirm", title="Read the labels again", run=_confirm_version),
        CLOSE,
    ),
)
