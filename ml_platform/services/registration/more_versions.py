"""Adopt the versions that Vertex AI has under a registered model and no record has."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial

from ml_platform.cloud.names import ModelName
from ml_platform.cloud.types import RemoteModel
from ml_platform.models import Finding, Operation, RegisteredModel
from ml_platform.models.states import OperationKind
from ml_platform.services.findings.comparisons.versions import more_of
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.model_rows import (
    labelled_runs,
    listed_versions,
    read_place,
    recorded_versions,
)
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.subjects import subject_of_lineage
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow
from ml_platform.services.registry.lineages import lock_lineage
from ml_platform.services.registry.verification import read_versions
from ml_platform.services.repairs.steps import CLOSE, nothing_to_repair, open_repair, read_present
from ml_platform.text import counted

from .adopted_versions import AdoptedState, label_next, record_adopted, what_is_unknown
from .vertex_facts import described


def adopt_rest(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Record each version that no record has as a version of the same model.

    Versions of other installations, and surplus ones of our runs, are left out.

    :raises Busy: another operation holds the lineage.
    """
    return open_repair(
        workflow=WORKFLOW,
        subject=subject_of_lineage(registered_model),
        state=AdoptedState(name=finding.subject),
        kinds=[FindingKind.MORE_VERSIONS],
        about=finding.subject,
        actor=actor,
        now=now,
    )


# ---- the steps ---------------------------------------------------------------------------------


def _read(work: Work[AdoptedState]) -> Outcome:
    name = ModelName.parse(work.state.name)
    versions = read_present(lambda: read_versions(name), service="Vertex AI")
    more = _more(work, versions)
    if not more:
        return nothing_to_repair(work, f"Our records have all versions of {name.model_id}.")
    work.state = replace(
        work.state,
        versions=tuple(described(version) for version in more),
        location=str(versions[0].name),
    )
    return Next(to="record", note=f"{counted(len(more), 'version')} that no record has.")


def _more(work: Work[AdoptedState], versions: list[RemoteModel]) -> list[RemoteModel]:
    lineage = RegisteredModel.objects.get(pk=work.operation.subject_id)
    ours = recorded_versions({lineage.pk: ModelName.parse(work.state.name)})[lineage.pk]
    listed = listed_versions(versions)
    found = more_of(lineage, listed, ours, labelled_runs(listed), read_place())
    numbers = {version.version for version in found}
    return [version for version in versions if version.version in numbers]


def _record(work: Work[AdoptedState]) -> Outcome:
    return Next(note="Versions in our records.", change=partial(_adopt, work))


def _adopt(work: Work[AdoptedState]) -> None:
    lineage = lock_lineage(int(work.operation.subject_id))
    # The model's own name, as our other versions have it.
    work.state = replace(work.state, location=lineage.vertex_model_resource_name)
    record_adopted(work, lineage)


def _label(work: Work[AdoptedState]) -> Outcome:
    if outcome := label_next(work):
        return outcome
    many = counted(len(work.state.runs), "version")
    return Next(note=f"{many}. {what_is_unknown(work.state)}")


WORKFLOW = Workflow(
    slug="adopt-more-versions",
    kind=OperationKind.ADOPT,
    title="Adopt the other versions of {}",
    past="adopted the other versions of {}",
    state=AdoptedState,
    steps=(
        Step(name="read", title="Read all versions", run=_read, cancellable=True),
        Step(name="record", title="Record those that no record has", run=_record),
        Step(name="label", title="Label them as ours", run=_label, probe="label"),
        CLOSE,
    ),
)
