"""Which rows a comparison has to judge: the database leaves out those that are in order.

A row is left out only if the mirror says of it what our tables say, the last sweep said so too, and
nobody works on it. All others are judged in Python, by the functions that make the findings.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.models import CharField, Exists, F, OuterRef, Q, QuerySet, TextField, Value
from django.db.models.functions import Cast, Concat, Replace

from ml_platform.models import MirroredArtifacts, MirroredModel, TrainingRun
from ml_platform.models.registry.manifest import DIFFERING, FilesState
from ml_platform.models.registry.registered_model import RegisteredModelQuerySet
from ml_platform.models.registry.training_run import TrainingRunQuerySet
from ml_platform.models.states import RegistryState
from ml_platform.services.findings.comparisons.models import Location
from ml_platform.services.findings.exclusions import Reading
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.model_rows import NAME, name_starts, with_model_id
from ml_platform.services.findings.store import standing
from ml_platform.services.registry.aliases import DEFAULT


def unsettled_lineages(reading: Reading, place: Location) -> RegisteredModelQuerySet:
    """The registered models that must be compared with the mirror of Vertex AI one by one."""
    differing = TrainingRun.objects.versions().filter(manifest__state__in=DIFFERING)
    changed = Q(pk__in=differing.values("registered_model"))
    state = Q(registry_state=RegistryState.VERIFIED) & ~changed
    state |= Q(registry_state=RegistryState.CHANGED) & changed
    labels = standing().filter(kind=FindingKind.LABELS_CHANGED, registered_model__isnull=False)
    return with_model_id(place).filter(
        ~(Q(registry_in_sweeps=True) & state & Exists(_recorded_as_listed(place)))
        | _is_touched(reading)
        | Q(latest_registered_at__gt=reading.sweep.started_at)
        | Q(model_id__in=list(reading.unstored["vertex"]))
        | Q(pk__in=labels.values("registered_model"))
    )


def _recorded_as_listed(place: Location) -> QuerySet[TrainingRun]:
    """The version that the mirror lists of a model, if its labels say that it is this version of
    ours, and we have the default alias on it."""
    listed = MirroredModel.objects.filter(
        model_id=OuterRef(OuterRef("model_id")),
        version=OuterRef("vertex_model_version"),
        run_uid=OuterRef("label"),
        owner=place.owner,
        theirs=False,
    )
    versions = TrainingRun.objects.versions().filter(registered_model=OuterRef("pk"))
    return versions.alias(
        label=Replace(Cast("uid", CharField()), Value("-"), Value("")),
        names=Cast("aliases", TextField()),
    ).filter(Exists(listed), names__contains=f'"{DEFAULT}"')


def unclaimed_models(place: Location) -> QuerySet[MirroredModel]:
    """The listed models, without those of others, that none of our versions points at."""
    rows = MirroredModel.objects.filter(theirs=False)
    versions = TrainingRun.objects.versions().exclude(**{NAME: ""})
    starts = (Concat(Value(start), F("model_id")) for start in name_starts(place))
    for number, name in enumerate((F("resource_name"), *starts)):
        rows = rows.alias(**{f"name_{number}": name})
        rows = rows.filter(~Exists(versions.filter(**{NAME: OuterRef(f"name_{number}")})))
    return rows


def unsettled_versions(reading: Reading, versions: TrainingRunQuerySet) -> TrainingRunQuerySet:
    """Those of our versions whose files must be compared with their manifests one by one."""
    there = MirroredArtifacts.objects.filter(prefix=OuterRef("gcs_artifacts_path"))
    same = there.filter(manifest_digest=OuterRef("manifest__digest")).exclude(manifest_digest="")
    settled: Any = Q(manifest__state=FilesState.VERIFIED, manifest__in_sweeps=True) & Exists(same)
    settled &= ~Q(registered_model__registry_state=RegistryState.CHANGED)
    unstored = Q(gcs_artifacts_path__in=list(reading.unstored["gcs"]))
    return versions.filter(~settled | _is_touched(reading) | unstored)


def _is_touched(reading: Reading) -> Q:
    """Whether an operation may change it: by name only, so the comparison asks again."""
    return Q(model_name__in=_names(reading.touched().lineages))


def _names(keys: Collection[str]) -> list[Any]:
    return sorted({key.partition(":")[2] for key in keys} - {""})
