"""google.cloud.location.Locations: where a project's resources can be."""

from __future__ import annotations

from typing import Any

import grpc
from google.cloud.location import locations_pb2

from ...core.core import Core
from ...core.errors import CloudError
from ...core.lists.pages import page
from ...core.names import Location

_PROJECT = "projects/{project}"
_NAME = "projects/{project}/locations/{location}"


class Locations:
    """The same for each service that offers it (Vertex AI, Cloud Scheduler)."""

    def __init__(self, core: Core) -> None:
        self._names = core.names

    def get_location(self, request: Any) -> Any:
        """INVALID_ARGUMENT for a location that no resource can be in."""
        self._names.locate(request.name, _NAME)
        return self._location(self._names.here)

    def list_locations(self, request: Any) -> Any:
        """In the order of their declaration; UNIMPLEMENTED with a filter."""
        self._names.locate(request.name, _PROJECT)
        if request.filter:
            raise CloudError(grpc.StatusCode.UNIMPLEMENTED, "ListLocations has no filter here.")
        places = [Location(self._names.project, location) for location in self._names.locations]
        found, token = page(enumerate(map(self._location, places), start=1), request)
        return locations_pb2.ListLocationsResponse(locations=found, next_page_token=token)

    def _location(self, place: Location) -> Any:
        return locations_pb2.Location(
            name=f"projects/{place.project}/locations/{place.location}",
            location_id=place.location,
            labels={"cloud.googleapis.com/region": place.location},
        )
