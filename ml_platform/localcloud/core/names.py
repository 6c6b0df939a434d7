"""Resource names: parsed, built, and checked against the cloud's project and location."""

from __future__ import annotations

import functools
import re

import grpc
from google.rpc import error_details_pb2

from .errors import CloudError, invalid


@functools.cache
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern))


def parse(name: str, pattern: str) -> dict[str, str] | None:
    """`projects/p/models/1` by `projects/{project}/models/{model}`; None when it does not fit."""
    match = _regex(pattern).fullmatch(name)
    return None if match is None else match.groupdict()


class Names:
    """What exists: one project (by id and by number) and one location."""

    def __init__(self, project: str, number: int, location: str) -> None:
        self.project, self.number, self.location = project, number, location

    def locate(
        self, name: str, pattern: str, *, field: str = "name", api: str = "aiplatform"
    ) -> dict[str, str]:
        """The parts of a name in our project and location.

        Raises INVALID_ARGUMENT for a malformed name or another location (regional endpoints
        know only theirs) and PERMISSION_DENIED for another project, as Google answers there.
        """
        parts = parse(name, pattern)
        if parts is None:
            raise invalid(field, f"Invalid resource name {name!r}: expected {pattern}.")
        self.check_project(parts.get("project", self.project), api)
        location = parts.get("location", self.location)
        if location != self.location:
            raise invalid(
                field, f"Location {location!r} is not served here; served: {self.location!r}."
            )
        return parts

    def check_project(self, project: str, api: str = "aiplatform") -> None:
        """PERMISSION_DENIED unless it is ours, by id or by number."""
        if project in (self.project, str(self.number)):
            return
        info = error_details_pb2.ErrorInfo(
            reason="IAM_PERMISSION_DENIED", domain=f"{api}.googleapis.com"
        )
        raise CloudError(
            grpc.StatusCode.PERMISSION_DENIED,
            f"Permission denied on resource '//{api}.googleapis.com/projects/{project}' "
            f"(or it may not exist). Served: {self.project!r}.",
            [info],
        )

    def both_forms(self, name: str) -> set[str]:
        """The name by the project's id and by its number; another project's stays as it is."""
        _, slash, rest = name.removeprefix("projects/").partition("/")
        forms = {f"projects/{project}{slash}{rest}" for project in (self.project, self.number)}
        return forms if name in forms else {name}

    def numbered(self, parts: dict[str, str]) -> str:
        """The location of a name that was located, with its project's number."""
        return f"projects/{self.number}/locations/{parts['location']}"

    @property
    def vertex_parent(self) -> str:
        """Vertex answers with the project's number, also for requests with its id."""
        return f"projects/{self.number}/locations/{self.location}"

    @property
    def parent(self) -> str:
        """Cloud Run and Cloud Scheduler answer with the project's id."""
        return f"projects/{self.project}/locations/{self.location}"
