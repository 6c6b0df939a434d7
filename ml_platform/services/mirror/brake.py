"""The brake: a plane that suddenly lacks much of what it had is not believed until a person says
that it is true. Until then NOT_FOUND of it proves nothing, whoever asks (law 3)."""

from __future__ import annotations

from collections.abc import Mapping

from ml_platform.errors import CloudUnavailable
from ml_platform.models import Finding

PLANES: Mapping[str, tuple[str, str]] = {
    "vertex": ("Vertex AI", "model"),
    "vertex_endpoints": ("Vertex AI", "endpoint"),
    "gcs": ("Cloud Storage", "run folder"),
    "cloud_run": ("Cloud Run", "service"),
    "scheduler": ("Cloud Scheduler", "job"),
}
"""The name of each plane, and of one thing there."""


class PlaneShrunk(CloudUnavailable):
    """A plane suddenly lacks much of what it had, and nobody has confirmed that yet."""

    code = "plane_shrunk"
    advice = (
        "Nothing was changed. It goes on when the plane has them again, or when an administrator "
        "confirms in Registry health that they are gone."
    )


def why_shrunk(plane: str) -> str:
    """Why the plane is not believed, without a number: all tenants read it."""
    return (
        f"{PLANES[plane][0]} suddenly lacks much of what it had, so nothing is concluded from that "
        "until an administrator confirms it."
    )


def unbelieved_planes() -> set[str]:
    """The planes that are not believed now."""
    return set(Finding.objects.alarms().values_list("subject", flat=True))


def why_unbelieved(*planes: str) -> str:
    """Why one of these planes is not believed now; '' if all are."""
    shrunk = unbelieved_planes()
    return next((why_shrunk(plane) for plane in planes if plane in shrunk), "")


def require_believed(*planes: str) -> None:
    """Check that NOT_FOUND of these planes proves something.

    :raises PlaneShrunk: one of them suddenly lacks much of what it had.
    """
    if why := why_unbelieved(*planes):
        raise PlaneShrunk(why)
