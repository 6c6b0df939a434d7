"""What the steps of a deploy hand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .service_polling import ServiceState


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployState(ServiceState):
    """What was asked for, what was found, and how far bringing it up is."""

    run: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    tries: int = 1
    """Grows when the operation is retried; a label of the service tells its attempts apart."""
    marked: bool = False
    """Our rows say `deploying`, so an end without success has to undo that."""

    artifact_uri: str = ""
    established: bool = False
    """The model or its artifacts are gone for certain, so the pointer to them is cleared."""
    said: str = ""
    nothing_left: bool = False
    cleared: str = ""
    """What the pointer said that was cleared."""

    before: str | None = None
    """Artifacts of the version that served before; None until the service was read."""
    going_back: bool = False
    """The new version did not come up, and the one before is brought back."""
    removing: bool = False
    """The new version did not come up, and nothing served before: the service goes."""
    failure: str = ""
    gone: bool = False
    """Cloud Run has no such service, so nothing serves."""

    url: str = ""
    revision: str = ""
    recorded: bool = False
    invokers_before: tuple[str, ...] = ()
