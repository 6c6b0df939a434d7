"""Compare our records with the mirror of Vertex AI, a chunk of rows at a time.

A record that an operation works on, or that changed since the sweep began, is left out: its finding
stays as it is, and the sweep reports the record as not compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

from django.db.models import Count

from ml_platform.cloud.names import ModelName
from ml_platform.conf import require_settings
from ml_platform.errors import Invalid
from ml_platform.models import RegisteredModel, Sweep, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.locking import update_rows
from ml_platform.models.states import RegistryState
from ml_platform.models.sweeps.sweep import or_read
from ml_platform.services.artifacts.manifest import with_other_files
from ml_platform.services.findings.comparisons.models import (
    ListedModel,
    Location,
    agrees,
    compare_lineage,
    compare_unclaimed,
    registered_since,
)
from ml_platform.services.findings.discrepancy import (
    Discrepancy,
    compare_orphan,
    orphan_subject,
    pointer_text,
)
from ml_platform.services.findings.endings import end_surplus
from ml_platform.services.findings.exclusions import (
    ELSEWHERE,
    NEW,
    UNSTORED,
    WORKED_ON,
    LeftOut,
    Reading,
    Touched,
)
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.model_rows import (
    LINEAGE_COLUMNS,
    SEEN_COLUMNS,
    VERSION_COLUMNS,
    key_of,
    labelled_runs,
    read_place,
    seen_by_id,
    seen_of,
)
from ml_platform.services.findings.store import hold_findings, looks_at, standing
from ml_platform.services.ownership.own_resources import own_models
from ml_platform.services.registry.aliases import DEFAULT, move_default
from ml_platform.services.sweeps.changed_versions import recorded_instead

from .settled import unclaimed_models, unsettled_lineages


class Compared(NamedTuple):
    """The result of a comparison for a chunk of rows."""

    found: list[Discrepancy]
    left_out: list[tuple[str, LeftOut]]
    """The subject of each row that was not compared: its findings stay unchanged."""

    def leave_out(self, subject: str, what: str, why: str, project_id: Any) -> None:
        """Note a row that was not compared, and why."""
        self.left_out.append((subject, LeftOut(what, why, project_id)))


SKEW = timedelta(seconds=1)
"""Google's clock may be ahead of ours by this much before a model counts as newer than a sweep."""


# ---- orphans -------------------------------------------------------------------------------------


def compare_orphans(reading: Reading) -> Iterator[Compared]:
    """Find unneeded models that were never registered; yields each chunk."""
    created_before = reading.sweep.started_at - timedelta(days=require_settings().ORPHAN_DAYS)
    for chunk in reading.chunks(RegisteredModel.objects.orphans(created_before=created_before)):
        runs, schedules = _counts(chunk, "training_runs"), _counts(chunk, "training_schedules")
        touched = reading.touched().lineages
        result = Compared([], [])
        for orphan in chunk:
            if key_of(orphan) in touched:
                subject = orphan_subject(orphan.pk)
                result.leave_out(subject, orphan.model_name, WORKED_ON, orphan.project_id)
            else:
                counts = {"runs": runs[orphan.pk], "schedules": schedules[orphan.pk]}
                result.found.append(compare_orphan(orphan, **counts))
        yield result


def _counts(chunk: list[RegisteredModel], related: str) -> dict[int, int]:
    rows = RegisteredModel.objects.filter(pk__in=[lineage.pk for lineage in chunk])
    return dict(rows.values_list("pk").annotate(n=Count(related)))


# ---- registered lineages and the Vertex AI plane -------------------------------------------------


def compare_lineages(reading: Reading) -> Iterator[Compared]:
    """Compare each registered model with what Vertex AI lists under its resource name."""
    place = read_place()
    for chunk in reading.chunks(unsettled_lineages(reading, place).only(*LINEAGE_COLUMNS)):
        names = [_name_of(lineage) for lineage in chunk]
        seen = _listed(chunk, names, place)
        touched = reading.touched().lineages
        result = Compared([], [])
        compared: dict[RegisteredModel, ListedModel | None] = {}
        unjudged: list[int] = []
        defaults: list[int] = []
        for lineage, name in zip(chunk, names, strict=True):
            why = _why_left_out(lineage, name, place, reading, touched)
            if why:
                subject = lineage.vertex_model_resource_name
                result.leave_out(subject, lineage.model_name, why, lineage.project_id)
                unjudged.append(lineage.pk)
                continue
            model = compared[lineage] = seen.listed[lineage]
            run = seen.labelled.get(model.run_uid) if model else None
            version = seen.pointed.get(lineage.pk)
            if discrepancy := compare_lineage(lineage, model, run, place, pointed=version):
                result.found.append(discrepancy)
            elif run is not None and lineage not in seen.instead:
                defaults.append(run.pk)
        _hold_labels(chunk, compared, reading.sweep)
        _keep_answers(unjudged)
        yield result
        _follow_defaults(defaults)
        # After the findings of the chunk were written: the states depend on their sightings.
        ids = [lineage.pk for lineage in compared]
        _write_states(ids, result.found, looks_at(result.found), reading.sweep)


class Listed(NamedTuple):
    """What Vertex AI lists of a chunk of lineages, with the runs that it is about."""

    listed: Mapping[RegisteredModel, ListedModel | None]
    """The listed model of each lineage whose resource name is valid."""
    instead: Mapping[RegisteredModel, ListedModel]
    """The version by which a model is judged whose default version is to be recorded yet."""
    labelled: Mapping[str, TrainingRun]
    """The runs that labels name, by their uid."""
    pointed: Mapping[int, TrainingRun]
    """The run that we recorded as the listed version of each lineage whose labels disagree."""


def _listed(
    chunk: Iterable[RegisteredModel], names: Iterable[ModelName | None], place: Location
) -> Listed:
    named = {lineage: name for lineage, name in zip(chunk, names, strict=True) if name}
    by_id = seen_by_id({name.model_id for name in named.values()})
    shown = {lineage: by_id.get(name.model_id) for lineage, name in named.items()}
    labelled = labelled_runs(filter(None, shown.values()))
    instead = recorded_instead(shown, labelled, place)
    listed = {**shown, **instead}
    labelled |= labelled_runs(instead.values())
    return Listed(listed, instead, labelled, _pointed_at(listed, labelled, place))


def _pointed_at(
    listed: Mapping[RegisteredModel, ListedModel | None],
    labelled: Mapping[str, TrainingRun],
    place: Location,
) -> dict[int, TrainingRun]:
    """Return the run that we recorded as the listed version of each model whose labels disagree."""
    versions = {
        lineage.pk: model.version
        for lineage, model in listed.items()
        if model and not agrees(lineage, model, labelled.get(model.run_uid), place)
    }
    if not versions:
        return {}
    runs = TrainingRun.objects.versions().filter(
        registered_model__in=versions, vertex_model_version__in=set(versions.values())
    )
    found = runs.only(*VERSION_COLUMNS, "registered_at")
    return {
        run.registered_model_id: run
        for run in found
        if run.registered_model_id is not None
        and run.vertex_model_version == versions[run.registered_model_id]
    }


def _hold_labels(
    lineages: Iterable[RegisteredModel],
    compared: Mapping[RegisteredModel, ListedModel | None],
    sweep: Sweep,
) -> None:
    """Keep the findings about the labels of versions that this listing does not show: it shows the
    default versions only."""
    judged = {f"{r.vertex_model_resource_name}@{m.version}" for r, m in compared.items() if m}
    found = standing().filter(kind=FindingKind.LABELS_CHANGED, registered_model__in=lineages)
    subjects = set(found.values_list("subject", flat=True)) - judged
    if subjects:
        names = {subject.rpartition("@")[0] for subject in subjects}
        runs = TrainingRun.objects.versions().filter(vertex_model_resource_name__in=names)
        held = subjects & {pointer_text(run) for run in runs.only(*VERSION_COLUMNS)}
        hold_findings(subjects=held, sweep=sweep)


def _why_left_out(
    lineage: RegisteredModel,
    name: ModelName | None,
    place: Location,
    reading: Reading,
    touched: Collection[str],
) -> str:
    """Return why a lineage must not be compared, '' when it may be."""
    if name is None or not place.holds(name):
        return ELSEWHERE
    if key_of(lineage) in touched:
        return WORKED_ON
    if name.model_id in reading.unstored["vertex"]:
        return UNSTORED
    return NEW if registered_since(lineage) > reading.sweep.started_at else ""


def _write_states(
    compared: Iterable[int], found: Iterable[Discrepancy], sightings: dict[str, int], sweep: Sweep
) -> None:
    """Update the registry states of the chunk. A model is missing only at the second sighting."""
    states = dict.fromkeys(compared, RegistryState.VERIFIED)
    for one in found:
        if one.lineage_id is not None and one.kind == FindingKind.LABELS_CHANGED:
            states[one.lineage_id] = RegistryState.FOREIGN
        elif one.lineage_id is not None and one.kind != FindingKind.SURPLUS_VERSION:
            stale = one.kind == FindingKind.STALE_POINTER and sightings.get(one.subject, 1) > 1
            states[one.lineage_id] = RegistryState.MISSING if stale else RegistryState.SUSPECTED
    verified = [pk for pk, state in states.items() if state == RegistryState.VERIFIED]
    states |= dict.fromkeys(with_other_files(verified), RegistryState.CHANGED)
    for state in set(states.values()):
        rows = RegisteredModel.objects.registered().filter(
            pk__in=[pk for pk, wanted in states.items() if wanted == state],
            latest_registered_at__lte=sweep.started_at,
        )
        update_rows(
            rows,
            registry_state=state,
            registry_checked_at=sweep.started_at,
            registry_in_sweeps=True,
        )


def _keep_answers(unjudged: Collection[int]) -> None:
    """Note when the models that this sweep does not judge were judged last: the end of the sweep
    makes the time of the others newer."""
    rows = RegisteredModel.objects.filter(pk__in=unjudged, registry_in_sweeps=True)
    if unjudged:
        answered_at = or_read("registry_checked_at", "vertex")
        update_rows(rows, registry_checked_at=answered_at, registry_in_sweeps=False)


def _follow_defaults(listed: Collection[int]) -> None:
    """Record where the default alias is: a listing shows each model's default version, and a person
    may have moved the alias. Our rows hold aliases as Vertex AI last said them."""
    versions = TrainingRun.objects.versions().filter(pk__in=listed)
    for pk, aliases in versions.order_by("pk").values_list("pk", "aliases"):
        if DEFAULT not in aliases:
            with atomic():
                move_default(run_id=pk)


def _name_of(lineage: RegisteredModel) -> ModelName | None:
    """The Vertex AI model it points at; None when that is not a valid resource name."""
    with suppress(Invalid):
        return ModelName.parse(lineage.vertex_model_resource_name)
    return None


# ---- models that no version points at ------------------------------------------------------------


def compare_unclaimed_models(reading: Reading) -> Iterator[Compared]:
    """Classify each listed model that none of our versions points at."""
    place = read_place()
    for chunk in reading.chunks(unclaimed_models(place).only(*SEEN_COLUMNS)):
        models = [seen_of(row) for row in chunk]
        labelled = labelled_runs(models)
        own = own_models(
            {run.registered_model_id for run in labelled.values() if run.registered_model_id}
        )
        touched = reading.touched()
        result = Compared([], [])
        for seen in models:
            run = labelled.get(seen.run_uid)
            if why := _why_not(seen, run, reading, touched):
                project_id = run.project_id if run else None
                result.leave_out(str(seen.name), seen.display_name, why, project_id)
                continue
            of_run = own.get(run.registered_model_id or 0) if run else None
            is_own = of_run is not None and of_run.holds(seen.name)
            lineage = run.registered_model if run else None
            current = lineage.vertex_model_resource_name if lineage else ""
            found = compare_unclaimed(seen, run, place, own=is_own, current=current)
            result.found.append(found)
            if run and not is_own:
                end_surplus(
                    subject=str(seen.name),
                    lineage_id=run.registered_model_id,
                    sweep=reading.sweep,
                    now=reading.now,
                )
        yield result


def _why_not(seen: ListedModel, run: TrainingRun | None, reading: Reading, touched: Touched) -> str:
    """Return why a listed model must not be compared, '' when it may be."""
    if seen.name.model_id in reading.unstored["vertex"]:
        return UNSTORED
    if seen.created_at is not None and seen.created_at > reading.sweep.started_at + SKEW:
        return NEW
    worked_on = seen.name.model_id in touched.models
    return WORKED_ON if worked_on or (run and key_of(run) in touched.lineages) else ""
