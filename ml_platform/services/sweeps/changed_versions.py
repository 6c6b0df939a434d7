"""Read all versions of some registered models in each sweep, into the mirror.

A listing of models shows each with its default version only, and ListModelVersions is one call for
each model. So a sweep reads the versions of those models whose update time or etag changed since
they were last read, and of those that were not read for a day: Google does not document which of
the two changes with a moved alias. It reads AT_MOST models, the longest unread ones first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Concat

from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.names import ModelName
from ml_platform.models import MirroredModel, RegisteredModel, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_rows
from ml_platform.services.findings.comparisons.models import ListedModel, Location, agrees
from ml_platform.services.findings.comparisons.versions import more_of
from ml_platform.services.findings.model_rows import (
    NAME,
    labelled_runs,
    mirrored_versions,
    name_starts,
    read_place,
    recorded_versions,
    version_row,
)
from ml_platform.services.installation.identity import Identity
from ml_platform.services.registry.verification import read_versions

AT_MOST = 120
"""Models in one sweep: a fifth of the reads that Vertex AI allows in a minute, which is 600
(https://cloud.google.com/vertex-ai/docs/quotas)."""
TOGETHER = 20
"""Models whose versions are written together."""
READ_AGAIN = timedelta(days=1)
FAILURES = 3
"""After so many models in a row that could not be read, the others wait for the next sweep."""


def read_changed_versions(*, us: Identity, began: datetime, renew: Callable[[], datetime]) -> None:
    """Read the versions of the models that wait for it, in the sweep that began then.

    `renew` renews its lease and returns the time. A model that cannot be read is passed by: its
    findings stay as they are, and it is tried again when the others had their turn (law 14).
    """
    failures = 0
    read: list[tuple[MirroredModel, bool]] = []
    for row in _waiting(began)[:AT_MOST]:
        row.versions_read_at, name = renew(), ModelName.parse(row.resource_name)
        answer = ask(lambda name=name: read_versions(name))  # type: ignore[misc]
        found = [version_row(v, us) for v in answer.value] if isinstance(answer, Present) else None
        before = (row.versions, row.versions_revision)
        row.versions, row.versions_revision = found, "" if found is None else row.revision
        read.append((row, before != (row.versions, row.versions_revision)))
        failures = failures + 1 if found is None else 0
        if len(read) == TOGETHER or failures == FAILURES:
            _write(read)
            read = []
        if failures == FAILURES:
            return
    _write(read)


def _write(read: Sequence[tuple[MirroredModel, bool]]) -> None:
    """Write what was read of these models; of those that do not differ only the time."""
    if read:
        rows = MirroredModel.objects.filter(pk__in=[row.pk for row, _ in read])
        with atomic():
            lock_rows(rows)
            rows.update(versions_read_at=read[-1][0].versions_read_at)
            differing = [row for row, differs in read if differs]
            MirroredModel.objects.bulk_update(differing, ["versions", "versions_revision"])


def _waiting(began: datetime) -> QuerySet[MirroredModel]:
    """The listed models of our lineages that changed, or were not read for a day; those first whose
    turn it is."""
    old = Q(versions_read_at=None) | Q(versions_read_at__lt=began - READ_AGAIN)
    ours = Q(pk__in=[])
    for start in name_starts(read_place()):
        name = Concat(Value(start), OuterRef("model_id"))
        ours |= Q(Exists(RegisteredModel.objects.registered().filter(**{NAME: name})))
    columns = ("resource_name", "revision", "versions", "versions_revision")
    rows = MirroredModel.objects.filter(old | ~Q(versions_revision=F("revision")), ours)
    rows = rows.only(*columns)
    is_same = Case(When(versions_revision=F("revision"), then=1), default=0)
    return rows.order_by(is_same, F("versions_read_at").asc(nulls_first=True), "pk")


def recorded_instead(
    listed: Mapping[RegisteredModel, ListedModel | None],
    labelled: Mapping[str, TrainingRun],
    place: Location,
) -> dict[RegisteredModel, ListedModel]:
    """Return the newest version that we recorded of each model whose default version is to be
    recorded yet: the model is judged by it, and the rest is another finding."""
    others = {
        lineage: model
        for lineage, model in listed.items()
        if model and not agrees(lineage, model, labelled.get(model.run_uid), place)
    }
    if not others:
        return {}
    ids = [model.name.model_id for model in others.values()]
    rows = MirroredModel.objects.filter(model_id__in=ids, versions_revision=F("revision"))
    known = {row.model_id: mirrored_versions(row) for row in rows}
    recorded = recorded_versions({lineage.pk: model.name for lineage, model in others.items()})
    found: dict[RegisteredModel, ListedModel] = {}
    for lineage, model in others.items():
        versions, ours = known.get(model.name.model_id, []), recorded[lineage.pk]
        more = more_of(lineage, versions, ours, labelled_runs(versions), place)
        there = [version for version in versions if version.version in ours]
        if there and model.version in {version.version for version in more}:
            found[lineage] = max(there, key=lambda version: ours[version.version].version or 0)
    return found
