"""Cloud Run's revisions: each is what a service's template was at one time."""

from __future__ import annotations

from typing import Any

from google.cloud.run_v2.types import revision as revision_types

from ..core.core import Core
from ..core.errors import not_found, precondition
from . import rules
from .refusals import pages
from .rollout import REVISION, SERVICE
from .rules import Revision, Service
from .services import SERVICE_NAME, start

_NAME = SERVICE_NAME + "/revisions/{revision}"
_LIST_LIMIT = 1000
_Delete: Any = revision_types.DeleteRevisionRequest.meta.pb


class Revisions:
    """google.cloud.run.v2.Revisions: what the services left behind, newest first."""

    def __init__(self, core: Core) -> None:
        self._core, self._store = core, core.store
        core.operations.on("run.delete_revision", self._land_delete)

    def get_revision(self, request: Any) -> Any:
        """NOT_FOUND when no revision has that name."""
        return self._need(self._key(request.name))

    def list_revisions(self, request: Any) -> Any:
        """Those of one service, or of all with `services/-`."""
        parts = self._core.names.locate(request.parent, SERVICE_NAME, field="parent", api="run")
        prefix = "" if parts["service"] == "-" else parts["service"] + "/"
        rows = list(self._store.rows(REVISION, prefix))
        found, token = pages(
            (
                (place, Revision.FromString(blob))
                for place, (_, _, blob) in enumerate(reversed(rows), start=1)
            ),
            request,
            _LIST_LIMIT,
        )
        answer: Any = revision_types.ListRevisionsResponse.meta.pb
        return answer(revisions=found, next_page_token=token)

    def delete_revision(self, request: Any) -> Any:
        """FAILED_PRECONDITION unless it is retired; ABORTED for an old etag."""
        pb_request = revision_types.DeleteRevisionRequest.pb(request)
        return start(self._core, "run.delete_revision", pb_request, self._retired(pb_request))

    def _land_delete(self, payload: bytes) -> Any:
        pb_request = _Delete.FromString(payload)
        revision = self._retired(pb_request)
        self._store.delete(REVISION, self._key(pb_request.name))
        self._core.effects.record(revision.name, labels=dict(revision.labels))
        revision.delete_time.FromDatetime(self._core.clock.now())
        return revision

    def _retired(self, pb_request: Any) -> Any:
        """The revision, if it may be deleted: cloud.google.com/run/docs/managing/revisions#delete.

        Not the latest of its service, and not one that can receive traffic, by percent or by tag.
        """
        key = self._key(pb_request.name)
        revision = self._need(key)
        rules.check_etag(pb_request.etag, revision.etag)
        service_id, _, short = key.partition("/")
        service = Service.FromString(self._store.get(SERVICE, service_id) or b"")
        latest = (service.latest_created_revision, service.latest_ready_revision)
        if revision.name in latest:
            raise precondition(f"Revision '{short}' is the latest of its service.")
        if short in {target.revision for target in (*service.traffic, *service.traffic_statuses)}:
            raise precondition(f"Revision '{short}' can receive traffic.")
        return revision

    def _key(self, name: str) -> str:
        parts = self._core.names.locate(name, _NAME, api="run")
        return f"{parts['service']}/{parts['revision']}"

    def _need(self, key: str) -> Any:
        blob = self._store.get(REVISION, key)
        if blob is None:
            raise not_found(f"Resource '{key.partition('/')[2]}' of kind 'REVISION' was not found.")
        return Revision.FromString(blob)
