"""Compare all versions of a model in Vertex AI with our versions of it: pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from ml_platform.cloud.names import check_alias
from ml_platform.errors import Invalid
from ml_platform.models import RegisteredModel, TrainingRun
from ml_platform.models.states import DEPLOYABLE_RUN_STATUSES, Registration
from ml_platform.services.findings.discrepancy import (
    Discrepancy,
    is_same,
    may_be_ours,
    pointer_text,
)
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.subjects import version_name
from ml_platform.services.registry.aliases import DEFAULT
from ml_platform.services.registry.protection import protected_of
from ml_platform.text import counted

from .models import ListedModel, Location, is_surplus

ADOPT_REST = (
    "Read all versions again. Record each that no record has as a version of this model, with what "
    "Vertex AI knows of it, and label it as ours. They are not judged: approve one to deploy it."
)
CLEAR_MISSING = (
    "Ask Vertex AI for each version by name and label, and record as lost only those that it "
    "reports as gone; the history keeps their pointers. Nothing in Vertex AI is changed."
)
MOVE = (
    "Take it over: record it where Vertex AI has it; only our records change. Or put ours back: "
    "move it in Vertex AI to where our records have it."
)
CHOOSE = f"The alias is protected, so a person chooses. {MOVE}"
NO_PUT_BACK = "It is not an alias by our pattern, so we do not move it."
SHOWN = 5
"""How many versions a title names."""


def more_of(
    lineage: RegisteredModel,
    versions: Sequence[ListedModel],
    pointed: Mapping[str, TrainingRun],
    labelled: Mapping[str, TrainingRun],
    place: Location,
) -> list[ListedModel]:
    """Return the versions of a lineage's model that are to be recorded: no run has them.

    `pointed` has our versions by their number there, `labelled` the runs that labels name.
    """
    return [
        version
        for version in versions
        if version.version not in pointed
        and not is_unlabelled_upload(version, labelled.get(version.files_uid))
        and is_unrecorded(version, labelled.get(version.run_uid), lineage, place)
    ]


def is_unrecorded(
    version: ListedModel, run: TrainingRun | None, lineage: RegisteredModel, place: Location
) -> bool:
    """Whether a version that no run points at may be recorded.

    Versions of another installation are left to it, surplus ones of our runs are deleted, and a
    version of a run that has not ended is recorded by its registration.
    """
    if version.theirs:
        return False
    if run is None or not place.owns(version) or not is_run_of(run, lineage):
        return True
    if run.registration == Registration.NONE:
        return run.status in DEPLOYABLE_RUN_STATUSES
    if run.registration == Registration.LOST:
        return not is_same(run.last_vertex_version, version.pointer)
    return not may_be_ours(run, version.pointer)


def is_unlabelled_upload(version: ListedModel, run: TrainingRun | None) -> bool:
    """Whether it has the files of a run that is no version yet, and lost that run's label: when it
    has it again, the registration of the run records it."""
    if run is None or run.registration != Registration.NONE:
        return False
    return version.run_uid != run.uid.hex


def is_run_of(run: TrainingRun, lineage: RegisteredModel) -> bool:
    """Whether the run is, or would become, a version of the lineage."""
    if run.registered_model_id is not None:
        return run.registered_model_id == lineage.pk
    return (run.project_id, run.model_name) == (lineage.project_id, lineage.model_name)


def compare_more(lineage: RegisteredModel, more: Sequence[ListedModel]) -> Discrepancy | None:
    """Describe the versions that Vertex AI has under our model and no record has."""
    if not more:
        return None
    numbers = [version.version for version in more]
    named = ", ".join(numbers[:SHOWN]) + (", …" if len(numbers) > SHOWN else "")
    what = f"{counted(len(more), 'version')} that no record has: {named}"
    return Discrepancy(
        kind=FindingKind.MORE_VERSIONS,
        subject=lineage.vertex_model_resource_name,
        title=f"{lineage.model_name}: Vertex AI has {what}",
        repair=ADOPT_REST,
        evidence={
            "model_name": lineage.model_name,
            "resource_name": lineage.vertex_model_resource_name,
            "our_versions": lineage.total_versions,
            "more_versions": numbers,
        },
        project_id=lineage.project_id,
        lineage_id=lineage.pk,
    )


def compare_missing(
    lineage: RegisteredModel,
    versions: Sequence[ListedModel],
    pointed: Mapping[str, TrainingRun],
    surplus: Collection[TrainingRun],
    *,
    before: datetime,
) -> Iterator[Discrepancy]:
    """Yield each registered version that the complete listing of its model's versions lacks.

    One that was registered after `before` may not be listed yet. A run that has a `surplus` version
    becomes that one, when it is repaired. A listing without any version tells nothing, because a
    model has one at least.
    """
    listed = {version.version for version in versions}
    for number, run in pointed.items() if listed else ():
        young = run.registered_at is None or run.registered_at > before
        staying = run.registration == Registration.REGISTERED and run not in surplus
        if number in listed or young or not staying:
            continue
        yield Discrepancy(
            kind=FindingKind.VERSION_MISSING,
            subject=pointer_text(run),
            title=f"{version_name(run)}: Vertex AI has the model without version {number}",
            repair=CLEAR_MISSING,
            evidence={
                "model_name": lineage.model_name,
                "resource_name": pointer_text(run),
                "vertex_listing": f"complete, {counted(len(listed), 'version')} without this one",
            },
            project_id=lineage.project_id,
            lineage_id=lineage.pk,
            run_id=run.pk,
        )


def surplus_of(
    lineage: RegisteredModel,
    versions: Sequence[ListedModel],
    labelled: Mapping[str, TrainingRun],
    place: Location,
) -> dict[TrainingRun, list[ListedModel]]:
    """Return, by their runs, the versions of a lineage's model that are second ones of a run, or
    of a deleted run."""
    of_run: dict[TrainingRun, list[ListedModel]] = {}
    for version in versions:
        run = labelled.get(version.run_uid)
        ours = run is not None and run.registered_model_id == lineage.pk
        if run and ours and is_surplus(run, version, place):
            of_run.setdefault(run, []).append(version)
    return of_run


def compare_aliases(
    lineage: RegisteredModel, versions: Sequence[ListedModel], pointed: Mapping[str, TrainingRun]
) -> Iterator[Discrepancy]:
    """Yield each alias that our records have elsewhere than Vertex AI.

    The default alias is left out, because our records follow it. An alias on a version that no
    record has is none of ours until that version is recorded.
    """
    ours = {alias: run for run in pointed.values() for alias in run.aliases}
    theirs = {alias: version.version for version in versions for alias in version.aliases}
    for alias in sorted({*ours, *theirs} - {DEFAULT}):
        run, there = ours.get(alias), theirs.get(alias, "")
        elsewhere = (run.vertex_model_version if run else "") != there
        if elsewhere and (run or there in pointed):
            yield _moved(lineage, alias, run, there, pointed.get(there))


def _moved(
    lineage: RegisteredModel,
    alias: str,
    run: TrainingRun | None,
    there: str,
    there_run: TrainingRun | None,
) -> Discrepancy:
    about = run or there_run
    has = _words(there, there_run)
    recorded = _words(run.vertex_model_version, run) if run else "no version"
    protected = bool(protected_of([alias]))
    return Discrepancy(
        kind=FindingKind.ALIAS_MOVED,
        subject=f"{lineage.vertex_model_resource_name}@{alias}",
        title=f"{lineage.model_name}: the alias {alias} is on {has} in Vertex AI, "
        f"on {recorded} in our records",
        repair=CHOOSE if protected else MOVE,
        evidence={
            "model_name": lineage.model_name,
            "resource_name": lineage.vertex_model_resource_name,
            "alias": alias,
            "protected": protected,
            "our_version": run.vertex_model_version if run else "",
            "vertex_version": there,
            **_no_put_back(alias),
        },
        project_id=lineage.project_id,
        lineage_id=lineage.pk,
        run_id=about.pk if about else None,
    )


def _words(number: str, run: TrainingRun | None) -> str:
    if not number:
        return "no version"
    return f"v{run.version}" if run else f"version {number}, which no record has,"


def _no_put_back(alias: str) -> dict[str, str]:
    with suppress(Invalid):
        check_alias(alias)
        return {}
    return {"no_put_back": NO_PUT_BACK}
