"""Which of our versions each revision of a service serves, and the rows that say so.

A revision never changes, so one is read once: the newest is in the service itself, and the version
of any other is in its row. A version is its files (law 12): the address that the revision reads
says whose they are, and its label only where it has none. A revision that we did not make, as of a
service that was adopted, has no label of ours, and may name its files otherwise: in an argument, in
another variable, or as a mounted folder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeAlias

from django.db.models import Q

from ml_platform.cloud import cloud_run
from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.types import RemoteService
from ml_platform.conf import require_settings
from ml_platform.models import DeployedEndpoint, EndpointTraffic, TrainingRun
from ml_platform.models.locking import lock_rows
from ml_platform.services.ownership.identification import holds_files_of
from ml_platform.services.ownership.labels import RUN, is_uid
from ml_platform.services.removal.references import addresses_of, name_below

PUSHED = "/pushed_model/"


@dataclass(frozen=True, slots=True)
class Content:
    """What a revision reads: the address of its model, or all that its configuration has where
    none is said to be the model's, and the run that its label names."""

    uris: tuple[str, ...]
    run_uid: str


Revision: TypeAlias = tuple[int, str]
"""Endpoint and name of a revision."""


def read_traffic(services: Mapping[int, RemoteService]) -> list[EndpointTraffic]:
    """What requests to the services of these endpoints reach, as rows that are not saved; one call
    for each revision that is neither the newest nor known."""
    runs = _known_runs(services)
    contents: dict[Revision, Content] = {}
    unread: dict[Revision, str] = {}
    for endpoint, service in services.items():
        for name in filter(None, service.serving):
            if (endpoint, name) in runs and name != service.latest_created_revision:
                continue
            answer = ask(partial(_content, service, name))
            if isinstance(answer, Present):
                contents[endpoint, name] = answer.value
            else:
                unread[endpoint, name] = answer.reason
    found = identify_runs(contents.values())
    runs |= {revision: found.get(content) for revision, content in contents.items()}
    return [
        row
        for endpoint, service in services.items()
        for row in _rows(endpoint, service, runs, unread)
    ]


def keep_traffic(
    rows: Iterable[EndpointTraffic],
    *,
    endpoints: Collection[int],
    now: datetime,
    began: datetime,
) -> None:
    """Replace, in the caller's transaction, the rows of these endpoints.

    What another reader has seen since the reading `began` stays: it is newer.
    """
    lock_rows(DeployedEndpoint.objects.filter(pk__in=endpoints))
    known = EndpointTraffic.objects.filter(endpoint__in=endpoints)
    newer = set(known.filter(seen_at__gt=began).values_list("endpoint", flat=True))
    known.exclude(endpoint__in=newer).delete()
    wanted = [row for row in rows if row.endpoint_id not in newer]
    for row in wanted:
        row.seen_at = now
    EndpointTraffic.objects.bulk_create(wanted)


def identify_runs(contents: Iterable[Content]) -> dict[Content, int | None]:
    """The id of the run whose files each of them reads; None if they are none of ours."""
    asked = set(contents)
    uris = {uri for content in asked for uri in content.uris}
    folders = {_folder(uri) for uri in uris}
    uids = {uid for content in asked for uid in _uids(content)}
    if not uids and not folders:
        return dict.fromkeys(asked)
    known = Q(uid__in=uids) | Q(gcs_artifacts_path__in={_run_folder(f) for f in folders})
    known |= Q(manifest__folder__in=folders) | Q(parameters__adopted_from__in=sorted(uris))
    columns = ("uid", "gcs_artifacts_path", "parameters", "manifest__folder")
    rows = TrainingRun.objects.filter(known).select_related("manifest").only(*columns)
    runs = list(rows.order_by("-pk"))
    return {content: _owner(content, runs) for content in asked}


def _owner(content: Content, runs: Sequence[TrainingRun]) -> int | None:
    labelled = [run for run in runs if run.uid.hex == content.run_uid]
    if not content.uris:
        return labelled[0].pk if labelled else None
    found = (run.pk for run in (*labelled, *runs) if any(_reads(u, run) for u in content.uris))
    return next(found, None)


def _reads(uri: str, run: TrainingRun) -> bool:
    manifest = getattr(run, "manifest", None)
    return holds_files_of(run, uri) or (manifest is not None and manifest.folder == _folder(uri))


def _uids(content: Content) -> set[str]:
    settings = require_settings()
    root = f"{settings.ARTIFACTS_PREFIX}/"
    below = (name_below(uri=uri, bucket=settings.BUCKET, root=root) for uri in content.uris)
    return {uid for uid in (content.run_uid, *below) if uid and is_uid(uid)}


def _folder(uri: str) -> str:
    return f"{uri.rstrip('/')}/"


def _run_folder(folder: str) -> str:
    """The run's own folder, of the folder of one of its models."""
    above, pushed, _ = folder.rpartition(PUSHED)
    return f"{above}/" if pushed else folder


# ---- Cloud Run ---------------------------------------------------------------------------------


def _known_runs(services: Mapping[int, RemoteService]) -> dict[Revision, int | None]:
    """The runs of the revisions that are known, since the services exist: a service that was made
    again may have another revision of that name. One without a run is read again: its files may
    have been adopted since."""
    rows = EndpointTraffic.objects.filter(endpoint__in=services, unread="", run__isnull=False)
    return {
        (endpoint, revision): run
        for endpoint, revision, run, seen_at in rows.values_list(
            "endpoint", "revision", "run", "seen_at"
        )
        if (made := services[endpoint].create_time) is None or made < seen_at
    }


def _content(service: RemoteService, revision: str) -> Content:
    if revision == service.latest_created_revision:
        uri, texts, labels = service.env.get(ARTIFACT_ENV, ""), service.texts, service.labels
    else:
        read = cloud_run.get_revision(service.service_id, revision)
        uri, texts, labels = read.artifact_uri, read.texts, read.labels
    uris = (uri,) if uri else tuple(sorted(set(addresses_of(texts))))
    return Content(uris, labels.get(RUN, ""))


def _rows(
    endpoint: int,
    service: RemoteService,
    runs: Mapping[Revision, int | None],
    unread: Mapping[Revision, str],
) -> list[EndpointTraffic]:
    """A row for each revision and tag; two shares of one revision are added."""
    rows: dict[tuple[str, str], EndpointTraffic] = {}
    for share in service.traffic:
        name = share.revision or service.latest_ready_revision
        row = rows.setdefault(
            (name, share.tag),
            EndpointTraffic(
                endpoint_id=endpoint,
                run_id=runs.get((endpoint, name)),
                revision=name,
                percent=0,
                tag=share.tag,
                url=share.url,
                unread=unread.get((endpoint, name), ""),
            ),
        )
        row.percent += share.percent
    return list(rows.values())
