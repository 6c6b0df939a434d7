"""Compare the versions and aliases that this sweep read with our rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain

from django.db.models import Q

from ml_platform.cloud.names import ModelName
from ml_platform.models import MirroredModel, RegisteredModel, Sweep
from ml_platform.models.states import Registration
from ml_platform.services.findings.comparisons.models import Location, registered_since
from ml_platform.services.findings.comparisons.versions import (
    compare_aliases,
    compare_missing,
    compare_more,
    more_of,
    surplus_of,
)
from ml_platform.services.findings.discrepancy import compare_surplus
from ml_platform.services.findings.endings import end_surplus_of
from ml_platform.services.findings.exclusions import Reading
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.model_rows import (
    LINEAGE_COLUMNS,
    key_of,
    labelled_runs,
    mirrored_versions,
    read_place,
    recorded_versions,
)
from ml_platform.services.findings.store import hold_findings, standing
from ml_platform.services.mirror.project_names import project_names
from ml_platform.services.registry.verification import EVENTUAL_CONSISTENCY_WINDOW

from .models import Compared

KINDS = (FindingKind.VERSION_MISSING, FindingKind.ALIAS_MOVED, FindingKind.MORE_VERSIONS)


def compare_versions(reading: Reading) -> Iterator[Compared]:
    """Compare each model whose versions this sweep read; findings of others stay as they are."""
    place, compared = read_place(), set[int]()
    began = reading.sweep.started_at
    before = began - EVENTUAL_CONSISTENCY_WINDOW
    read = MirroredModel.objects.filter(versions_read_at__gte=began, versions__isnull=False)
    for chunk in reading.chunks(read):
        known = {row.model_id: mirrored_versions(row) for row in chunk}
        lineages = _lineages(known, place)
        touched = reading.touched().lineages
        names = {row.pk: ModelName.parse(row.vertex_model_resource_name) for row in lineages}
        recorded = recorded_versions(names)
        labelled = labelled_runs(chain.from_iterable(known.values()))
        result, clean = Compared([], []), dict[int, str]()
        for lineage in lineages:
            if key_of(lineage) in touched or registered_since(lineage) > began:
                continue  # held below
            compared.add(lineage.pk)
            ours, versions = recorded[lineage.pk], known[names[lineage.pk].model_id]
            more = more_of(lineage, versions, ours, labelled, place)
            surplus = surplus_of(lineage, versions, labelled, place)
            result.found.extend(compare_missing(lineage, versions, ours, surplus, before=before))
            result.found.extend(compare_aliases(lineage, versions, ours))
            if found := compare_more(lineage, more):
                result.found.append(found)
            for run, second in surplus.items():  # one finding: its repair reads all versions
                result.found.append(compare_surplus(run, *(each.pointer for each in second)))
                break
            if versions and not surplus:
                clean[lineage.pk] = versions[0].name.model_id
        yield result
        end_surplus_of(clean, sweep=reading.sweep, now=reading.now)
    _hold_others(compared, reading.sweep)


def _lineages(known: Collection[str], place: Location) -> list[RegisteredModel]:
    """The lineages that point at these models."""
    projects = project_names(place.number)
    names = [f"projects/{p}/locations/{place.location}/models/{m}" for p in projects for m in known]
    rows = RegisteredModel.objects.registered().filter(vertex_model_resource_name__in=names)
    return list(rows.only(*LINEAGE_COLUMNS))


def _hold_others(compared: Collection[int], sweep: Sweep) -> None:
    """Keep the findings of models that are listed, and that this sweep did not compare."""
    found = standing().filter(kind__in=KINDS).exclude(registered_model__in=compared)
    gone = Q(kind=FindingKind.VERSION_MISSING) & ~Q(run__registration=Registration.REGISTERED)
    about = found.exclude(gone).values_list(
        "subject", "registered_model__vertex_model_resource_name"
    )
    others = {subject: name.rpartition("/")[2] for subject, name in about if name}
    listed = set(
        MirroredModel.objects.filter(model_id__in=set(others.values())).values_list(
            "model_id", flat=True
        )
    )
    held = [subject for subject, model_id in others.items() if model_id in listed]
    hold_findings(subjects=held, sweep=sweep, kinds=KINDS)
