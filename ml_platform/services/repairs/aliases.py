"""Repairs of a moved alias: record it where Vertex AI has it, or move it there to where ours is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName, same_resource
from ml_platform.cloud.types import RemoteModel
from ml_platform.errors import Conflict
from ml_platform.models import Finding, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import OperationKind
from ml_platform.services.findings.comparisons.labels import note_foreign
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.subjects import subject_of_lineage
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow
from ml_platform.services.registry.aliases import record_alias
from ml_platform.services.registry.verification import read_versions, require_own_version

from .steps import CLOSE, RepairState, nothing_to_repair, open_repair, read_present

LOOK = "look_at_alias"


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasRepairState(RepairState):
    """The request, and what both repairs remember."""

    model: str = ""
    alias: str = ""
    seen: str = ""
    """The version in Vertex AI that had it when the user decided, '' for none."""
    sent: bool = False
    """A change of Vertex AI was, or may have been, sent."""


def take_over_alias(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Record the alias on the version that has it in Vertex AI, which is not changed.

    :raises Busy: another operation holds the lineage.
    """
    return _open(TAKE_OVER, finding, registered_model, actor, now)


def put_alias_back(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Move the alias in Vertex AI to the version that our records have, or remove it there.

    :raises Busy: another operation holds the lineage.
    """
    return _open(PUT_BACK, finding, registered_model, actor, now)


def _open(
    workflow: Workflow, finding: Finding, lineage: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    said = finding.evidence
    return open_repair(
        workflow=workflow,
        subject=subject_of_lineage(lineage, name=f"{said['alias']} of {lineage.model_name}"),
        state=AliasRepairState(
            model=said["resource_name"], alias=said["alias"], seen=said["vertex_version"]
        ),
        kinds=[FindingKind.ALIAS_MOVED],
        about=finding.subject,
        actor=actor,
        now=now,
    )


# ---- the steps ---------------------------------------------------------------------------------


def _look(work: Work[AliasRepairState]) -> tuple[Sequence[RemoteModel], str, TrainingRun | None]:
    """All versions, the number of the one that has the alias, and ours that has it by our rows.

    :raises Conflict: it was moved again since the user decided.
    """
    name, sent = ModelName.parse(work.state.model), work.state.sent
    versions = read_present(lambda: read_versions(name), service="Vertex AI", sent=sent)
    there = next((v.version for v in versions if work.state.alias in v.aliases), "")
    ours = next((run for run in _recorded(work) if work.state.alias in run.aliases), None)
    agreed = there == (ours.vertex_model_version if ours else "")
    if not agreed and there != work.state.seen:
        raise Conflict(
            f"The alias {work.state.alias} was moved again: "
            + (f"it is on version {there} now." if there else "no version has it now."),
            code="alias_moved_again",
            advice="Nothing was changed. Check the registry again, then decide.",
        )
    return versions, there, ours


def _recorded(work: Work[AliasRepairState]) -> list[TrainingRun]:
    """Our versions in that model."""
    name = ModelName.parse(work.state.model)
    runs = TrainingRun.objects.versions().filter(registered_model_id=int(work.operation.subject_id))
    return [run for run in runs if same_resource(run.vertex_model_resource_name, name)]


def _follow(work: Work[AliasRepairState]) -> Outcome:
    _, there, ours = _look(work)
    if there == (ours.vertex_model_version if ours else ""):
        return nothing_to_repair(work, f"{work.state.alias} is where our records have it.")
    run = next((run for run in _recorded(work) if run.vertex_model_version == there), None)
    change = partial(
        record_alias,
        work.state.alias,
        lineage_id=int(work.operation.subject_id),
        run_id=run.pk if run else None,
    )
    where = f"v{run.version}" if run else "none of our versions"
    return Next(to="close", note=f"{work.state.alias} is on {where}, recorded.", change=change)


def _decide(work: Work[AliasRepairState]) -> Outcome:
    """Check, before the change and after it, that our version is ours by its labels."""
    versions, there, ours = _look(work)
    if there == (ours.vertex_model_version if ours else ""):
        note = f"{work.state.alias} is where our records have it."
        return Next(to="close", note=note) if work.state.sent else nothing_to_repair(work, note)
    if ours:
        model = next((v for v in versions if v.version == ours.vertex_model_version), None)
        if model is None:
            raise Conflict(
                f"Vertex AI does not list v{ours.version}, which has {work.state.alias} by our "
                "records.",
                code="version_not_listed",
                advice="Take the alias over, or register the version again.",
            )
        require_own_version(model, ours)
    work.state = replace(work.state, sent=True)
    return Next(to="put_back", note=f"{work.state.alias} is on version {there or 'none'} there.")


def _put_back(work: Work[AliasRepairState]) -> Outcome:
    alias, name = work.state.alias, ModelName.parse(work.state.model)
    _, there, ours = _look(work)  # again: a merge of aliases cannot be conditional
    if there != work.state.seen:
        return Next(note=f"{alias} is where our records have it.")
    if ours:
        vertex.merge_version_aliases(name.at(ours.vertex_model_version), [alias])
        return Next(note=f"{alias} is on v{ours.version} in Vertex AI again.")
    vertex.merge_version_aliases(name.at(work.state.seen), [f"-{alias}"])
    return Next(note=f"{alias} was removed from version {work.state.seen} in Vertex AI.")


TAKE_OVER = Workflow(
    slug="take-over-alias",
    kind=OperationKind.REPAIR,
    title="Take over the alias {}",
    past="took over the alias {}",
    state=AliasRepairState,
    steps=(
        Step(name=LOOK, title="Read where Vertex AI has it", run=_follow, cancellable=True),
        CLOSE,
    ),
)
PUT_BACK = Workflow(
    slug="put-alias-back",
    kind=OperationKind.REPAIR,
    title="Put the alias {} back",
    past="put the alias {} back",
    state=AliasRepairState,
    steps=(
        Step(name=LOOK, title="Read where Vertex AI has it", run=_decide, cancellable=True),
        Step(name="put_back", title="Move it in Vertex AI", run=_put_back, probe=LOOK),
        CLOSE,
    ),
    on_failure=note_foreign,
)
