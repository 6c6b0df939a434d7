"""Read all versions of some registered models in each sweep, into the mirror.

A listing of models shows each with its default version only, and ListModelVersions is one call for
each model. So a sweep reads the versions of those models whose update time or etag changed since
they were last read, and of those that were not read for a day: Google does not document which of
the two changes with a moved alias. It reads AT_MOST models, the longest unread ones first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from heapq import nsmallest

from django.db.models import F

from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.names import ModelName
from ml_platform.models import MirroredModel, RegisteredModel, TrainingRun
from ml_platform.models.locking import update_rows
from ml_platform.services.findings.comparisons.models import ListedModel, Location, agrees
from ml_platform.services.findings.comparisons.versions import more_of
from ml_platform.services.findings.exclusions import chunks
from ml_platform.services.findings.model_rows import (
    labelled_runs,
    mirrored_versions,
    recorded_versions,
    version_row,
)
from ml_platform.services.installation.identity import identity
from ml_platform.services.operations.work import Json
from ml_platform.services.registry.verification import read_versions

AT_MOST = 120
"""Models in one sweep: a fifth of the reads that Vertex AI allows in a minute, which is 600
(https://cloud.google.com/vertex-ai/docs/quotas)."""
READ_AGAIN = timedelta(days=1)
FAILURES = 3
"""After so many models in a row that could not be read, the others wait for the next sweep."""
_NEVER = datetime.min.replace(tzinfo=UTC)


def read_changed_versions(*, began: datetime, renew: Callable[[], datetime]) -> None:
    """Read the versions of the models that wait for it, in the sweep that began then.

    `renew` renews its lease and returns the time. A model that cannot be read is passed by: its
    findings stay as they are, and it is tried again when the others had their turn (law 14).
    """
    us, failures = identity(), 0
    for row in nsmallest(AT_MOST, _waiting(began), key=_turn):
        now, name = renew(), ModelName.parse(row.resource_name)
        answer = ask(lambda name=name: read_versions(name))  # type: ignore[misc]
        read = isinstance(answer, Present)
        values: Json = {"versions": None, "versions_revision": ""}
        if isinstance(answer, Present):
            versions = [version_row(version, us) for version in answer.value]
            values = {"versions": versions, "versions_revision": row.revision}
        update_rows(MirroredModel.objects.filter(pk=row.pk), versions_read_at=now, **values)
        failures = 0 if read else failures + 1
        if failures == FAILURES:
            return


def _waiting(began: datetime) -> Iterator[MirroredModel]:
    """Yield the listed models of our lineages that changed, or were not read for a day."""
    columns = ("resource_name", "revision", "versions_revision", "versions_read_at")
    for chunk in chunks(RegisteredModel.objects.registered().only("vertex_model_resource_name")):
        ids = [row.vertex_model_resource_name.rpartition("/")[2] for row in chunk]
        for row in MirroredModel.objects.filter(model_id__in=ids).only(*columns):
            read_at = row.versions_read_at
            if row.versions_revision != row.revision or not read_at or read_at < began - READ_AGAIN:
                yield row


def _turn(row: MirroredModel) -> tuple[bool, datetime]:
    return (row.versions_revision == row.revision, row.versions_read_at or _NEVER)


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
