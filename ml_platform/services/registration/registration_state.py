"""What the steps of a registration hand on."""

from __future__ import annotations

from dataclasses import dataclass

from ml_platform.services.operations.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationState(State):
    """Where the artifacts are, what was sent, and what is in Vertex AI."""

    artifact_uri: str = ""
    absent_since: str = ""
    """When the model of the earlier versions was first found missing."""
    lost: tuple[str, ...] = ()
    """The versions that were recorded as lost with it."""

    parent: str = ""
    """The model that gets the version; empty when the upload creates `model_id`."""
    model_id: str = ""
    uploading_since: str = ""
    """When an upload was first sent that may have happened; empty when none was."""
    again: bool = False
    """An upload had been sent before the last one, so there may be two versions."""

    pointer: str = ""
    """name@version in Vertex AI."""
    uploaded_at: str = ""
    aliases: tuple[str, ...] | None = None
    """Aliases of a version that was found; None for one that was just uploaded."""
    taken: tuple[str, ...] = ()
    """Aliases of all versions that were found for the run."""
    surplus: tuple[str, ...] = ()
    """Those versions except the one that was taken."""
