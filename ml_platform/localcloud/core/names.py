"""Resource names: parsed, built, and checked against the cloud's projects and locations."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import grpc
from google.rpc import error_details_pb2

from .errors import CloudError, Unusable, invalid

_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_LOCATION = re.compile(r"[a-z]+(-[a-z]+)*-[a-z]+[0-9]{1,2}")
_PLACE = re.compile(r"projects/([^/]+)(?:/locations/([^/]+))?(?:/.*)?")


@functools.cache
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern))


def parse(name: str, pattern: str) -> dict[str, str] | None:
    """`projects/p/models/1` by `projects/{project}/models/{model}`; None when it does not fit."""
    match = _regex(pattern).fullmatch(name)
    return None if match is None else match.groupdict()


class Location(NamedTuple):
    """A project, by its id, and a location: what regional resources are kept apart by."""

    project: str
    location: str

    def __str__(self) -> str:
        return f"{self.project}/{self.location}"


class Names:
    """What exists: projects (each by id and by number) and locations, the same for all projects.

    A call is served `here`, in the place that its resource's name says (the gate sees to that);
    a timer runs in the place in which it was set. Elsewhere `here` is the default place.
    """

    def __init__(self, project: str, number: int, location: str) -> None:
        self._numbers: dict[str, int] = {}
        self._locations: list[str] = []
        self.declare({project: number}, (location,))
        self.default = Location(project, location)
        self._thread = threading.local()

    def declare(self, projects: Mapping[str, int], locations: Iterable[str] = ()) -> None:
        """Add projects (id to number) and locations; Unusable for one that is malformed.

        A project keeps the number that it was declared with first.
        """
        locations = list(locations)
        for project, number in projects.items():
            self._check(project, number)
        for location in locations:
            if not _LOCATION.fullmatch(str(location)):
                raise Unusable(f"{location!r} is not a location, such as europe-central2.")
        self._numbers |= projects
        self._locations += [one for one in locations if one not in self._locations]

    def _check(self, project: str, number: int) -> None:
        if not _PROJECT.fullmatch(project):
            raise Unusable(f"{project!r} is not a project id, such as my-project.")
        if not re.fullmatch(r"[1-9][0-9]*", repr(number)):
            raise Unusable(f"{number!r} is not a project number, such as 123456789012.")
        known = self._numbers.get(project, number)
        if known != number or self.project_of(str(number)) not in (None, project):
            raise Unusable(f"Project {project!r} cannot have the number {number}: one is taken.")

    def only(self, projects: Mapping[str, int], locations: Iterable[str]) -> None:
        """Forget all other projects and locations; the default place must be among these."""
        self._numbers, self._locations = dict(projects), list(locations)

    # where

    @property
    def here(self) -> Location:
        """The place of the running call or timer."""
        place: Location = getattr(self._thread, "place", self.default)
        return place

    @contextlib.contextmanager
    def at(self, place: Location | None) -> Iterator[None]:
        """Work in that place for a while; None stays here."""
        before, self._thread.place = self.here, place or self.here
        try:
            yield
        finally:
            self._thread.place = before

    def within(self, name: str) -> contextlib.AbstractContextManager[None]:
        """As `at`, in the place of a resource; of a name that says none, here."""
        return self.at(self.place_of(name))

    def carried(self, work: Callable[[], None]) -> Callable[[], None]:
        """The same work, done in this place also when another thread does it later."""
        place = self.here

        def there() -> None:
            with self.at(place):
                work()

        return there

    def place_of(self, name: str) -> Location | None:
        """The place that a resource's name says; None when it is malformed or not one of ours.

        A name without a location (a project's) is in the default location.
        """
        match = _PLACE.fullmatch(name)
        project = self.project_of(match[1]) if match else None
        location = (match[2] if match else None) or self.default.location
        if project is None or location not in self._locations:
            return None
        return Location(project, location)

    @property
    def places(self) -> list[Location]:
        """Every project with every location; the default place is the first."""
        return [Location(project, one) for project in self._numbers for one in self._locations]

    @property
    def projects(self) -> dict[str, int]:
        """Each project's id and number; the default project is the first."""
        return dict(self._numbers)

    @property
    def locations(self) -> list[str]:
        """All locations; the default one is the first."""
        return list(self._locations)

    def project_of(self, project: str) -> str | None:
        """The id of a project named by its id or its number; None for one that is not ours."""
        if project in self._numbers:
            return project
        return next((one for one, number in self._numbers.items() if str(number) == project), None)

    # names

    def locate(
        self, name: str, pattern: str, *, field: str = "name", api: str = "aiplatform"
    ) -> dict[str, str]:
        """The parts of a name in the place of this call.

        Raises INVALID_ARGUMENT for a malformed name or another location (regional endpoints
        know only theirs, and no list takes the wildcard `-`) and PERMISSION_DENIED for a project
        that is not ours, as Google answers there.
        """
        parts = parse(name, pattern)
        if parts is None:
            raise invalid(field, f"Invalid resource name {name!r}: expected {pattern}.")
        project = parts.get("project", self.project)
        self.check_project(project, api)
        location = parts.get("location", self.location)
        if location not in self._locations:
            served = ", ".join(repr(one) for one in self._locations)
            raise invalid(field, f"Location {location!r} is not served here; served: {served}.")
        if (self.project_of(project), location) != self.here:
            raise invalid(field, f"{name!r} is not in {self.parent}, as the request is.")
        return parts

    def check_project(self, project: str, api: str = "aiplatform") -> None:
        """PERMISSION_DENIED unless it is one of ours, by id or by number."""
        if self.project_of(project) is not None:
            return
        info = error_details_pb2.ErrorInfo(
            reason="IAM_PERMISSION_DENIED", domain=f"{api}.googleapis.com"
        )
        served = ", ".join(repr(one) for one in self._numbers)
        raise CloudError(
            grpc.StatusCode.PERMISSION_DENIED,
            f"Permission denied on resource '//{api}.googleapis.com/projects/{project}' "
            f"(or it may not exist). Served: {served}.",
            [info],
        )

    def both_forms(self, name: str) -> set[str]:
        """The name by the project's id and by its number; another project's stays as it is."""
        named, slash, rest = name.removeprefix("projects/").partition("/")
        project = self.project_of(named) if name.startswith("projects/") else None
        if project is None:
            return {name}
        return {f"projects/{form}{slash}{rest}" for form in (project, self._numbers[project])}

    @property
    def project(self) -> str:
        """The id of this call's project."""
        return self.here.project

    @property
    def number(self) -> int:
        """The number of this call's project."""
        return self._numbers[self.here.project]

    @property
    def location(self) -> str:
        """The location of this call."""
        return self.here.location

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
