"""Whose and where: the projects of calls, a bucket's layout, and a project's service agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.names import Location, Names
from ..server.http_types import HttpError, Reply, Request, Route, json_reply


def place_of(names: Names, project: str) -> Location:
    """The default location of a project, by id or by number. Raises HTTP 403 for no project."""
    place = names.place_of(f"projects/{project}")
    if place is None:
        raise HttpError(403, "forbidden", f"The caller does not have access to project {project}.")
    return place


class Places:
    """`need` answers a bucket or raises HTTP 404."""

    def __init__(self, names: Names, need: Callable[[str], dict[str, Any]]) -> None:
        self._names = names
        self._need = need

    def routes(self) -> list[Route]:
        """storageLayout and serviceAccount."""
        return [
            Route(
                "GET",
                r"/storage/v1/b/(?P<bucket>[^/]+)/storageLayout",
                "storage.buckets.getStorageLayout",
                self._layout,
            ),
            Route(
                "GET",
                r"/storage/v1/projects/(?P<project>[^/]+)/serviceAccount",
                "storage.serviceaccount.get",
                self._service_account,
            ),
        ]

    def _layout(self, request: Request, bucket: str) -> Reply:
        """Whether the bucket has a hierarchical namespace: it has not."""
        del request
        found = self._need(bucket)
        return json_reply(
            {
                "kind": "storage#storageLayout",
                "bucket": bucket,
                "location": found["location"],
                "locationType": found["locationType"],
                "hierarchicalNamespace": {"enabled": False},
            }
        )

    def _service_account(self, request: Request, project: str) -> Reply:
        del request
        number = self._names.projects[place_of(self._names, project).project]
        address = f"service-{number}@gs-project-accounts.iam.gserviceaccount.com"
        return json_reply({"kind": "storage#serviceAccount", "email_address": address})
