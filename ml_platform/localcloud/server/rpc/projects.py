"""Resource Manager's GetProject: the high-level SDK calls it for the bucket of a pipeline."""

from __future__ import annotations

from typing import Any

from google.cloud.resourcemanager_v3.types import Project

from ...core.core import Core
from ...core.errors import invalid
from ...core.names import parse


class Projects:
    """Every project, by id or by number."""

    def __init__(self, core: Core) -> None:
        self._names = core.names

    def get_project(self, request: Any) -> Any:
        """Its name has the number; PERMISSION_DENIED for any other project."""
        parts = parse(request.name, "projects/{project}")
        if parts is None:
            raise invalid("name", "Invalid project name.")
        self._names.check_project(parts["project"], "cloudresourcemanager")
        # The gate led the call into the project's place.
        return Project(
            name=f"projects/{self._names.number}",
            project_id=self._names.project,
            display_name=self._names.project,
            state=Project.State.ACTIVE,
        )
