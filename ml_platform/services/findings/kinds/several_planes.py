"""Kinds of finding that concern several planes. They are worse than those of one."""

from __future__ import annotations

from ml_platform.models.sweeps.finding import PLANE_SHRUNK

from .kind import SWEPT, Facts, Kind, Repair


class SeveralPlanesKinds:
    """Kinds of finding that concern several planes. They are worse than those of one."""

    PLANE_SHRUNK = Kind(
        PLANE_SHRUNK,
        Facts(
            label="Plane shrunk",
            meaning="A plane suddenly lacks more than a tenth of what it had.",
            note=("{n} plane not believed", "{n} planes not believed"),
            tone="bad",
            comparison="ml_platform.services.sweeps.shrinking.compare_planes",
            is_alarm=True,
        ),
    )
    SERVING_UNVERIFIED = Kind(
        "serving_unverified",
        Facts(
            label="Serving unverified",
            meaning="An active endpoint serves what is not a registered, verified version.",
            note=("{n} serves what is not verified", "{n} serve what is not verified"),
            tone="bad",
            plane="cloud_run",
            comparison=f"{SWEPT}.services.compare_endpoints",
            repair=Repair(
                path="ml_platform.services.registration.again.register_served",
                button="Register again",
                changes_production=True,
                needs_run=True,
            ),
        ),
    )
