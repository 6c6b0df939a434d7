"""Cloud Run's revisions: each is what a service's template was at one time."""

from __future__ import annotations

from typing import Any

from google.cloud.run_v2.types import revision as revision_types

from ..core.core import Core
from ..core.errors import not_found
from ..core.pages import page
from .rollout import REVISION
from .rules import Revision
from .services import SERVICE_NAME

_NAME = SERVICE_NAME + "/revisions/{revision}"
_LIST_LIMIT = 1000


class Revisions:
    """google.cloud.run.v2.Revisions: what the services left behind, newest first."""

    def __init__(self, core: Core) -> None:
        self._core, self._store = core, core.store

    def get_revision(self, request: Any) -> Any:
        """NOT_FOUND when no revision has that name."""
        return self._need(self._key(request.name))

    def list_revisions(self, request: Any) -> Any:
        """Those of one service, or of all with `services/-`."""
        parts = self._core.names.locate(request.parent, SERVICE_NAME, field="parent", api="run")
        prefix = "" if parts["service"] == "-" else parts["service"] + "/"
        rows = list(self._store.rows(REVISION, prefix))
        found, token = page(
            (
                (place, Revision.FromString(blob))
                for place, (_, _, blob) in enumerate(reversed(rows), start=1)
            ),
            request,
            limit=_LIST_LIMIT,
        )
        answer: Any = revision_types.ListRevisionsResponse.meta.pb
        return answer(revisions=found, next_page_token=token)

    def _key(self, name: str) -> str:
        parts = self._core.names.locate(name, _NAME, api="run")
        return f"{parts['service']}/{parts['revision']}"

    def _need(self, key: str) -> Any:
        blob = self._store.get(REVISION, key)
        if blob is None:
            raise not_found(f"Resource '{key.partition('/')[2]}' of kind 'REVISION' was not found.")
        return Revision.FromString(blob)
