"""Kinds of finding that a sweep of Cloud Run makes."""

from __future__ import annotations

from .kind import REPAIRS, SWEPT, Facts, Kind, Repair


class CloudRunKinds:
    """Kinds of finding that a sweep of Cloud Run makes."""

    SERVICE_MISSING = Kind(
        "service_missing",
        Facts(
            label="Service missing",
            meaning="An endpoint is active, but Cloud Run does not list its service.",
            note=("{n} service missing", "{n} services missing"),
            tone="bad",
            plane="cloud_run",
            comparison=f"{SWEPT}.services.compare_endpoints",
            repair=Repair(
                path=f"{REPAIRS}.repair_endpoint",
                button="Record what is there",
                changes_production=False,
                settled_by_recheck=True,
            ),
        ),
    )
    SERVICE_MISMATCH = Kind(
        "service_mismatch",
        Facts(
            label="Service mismatch",
            meaning="A service serves a different version than its endpoint records.",
            note=("{n} serves another", "{n} serve another"),
            tone="bad",
            plane="cloud_run",
            comparison=f"{SWEPT}.services.compare_endpoints",
            repair=Repair(
                path=f"{REPAIRS}.repair_endpoint",
                button="Record what it serves",
                changes_production=False,
                settled_by_recheck=True,
                needs_run=True,
            ),
        ),
    )
    SERVICE_LABELS_CHANGED = Kind(
        "service_labels_changed",
        Facts(
            label="Service labels changed",
            meaning="The service of an active endpoint is on Cloud Run without our labels.",
            note=("{n} service without our labels", "{n} services without our labels"),
            tone="bad",
            plane="cloud_run",
            comparison=f"{SWEPT}.services.compare_endpoints",
            repair=Repair(
                path=f"{REPAIRS}.repair_service_labels",
                button="Relabel the service",
                changes_production=True,
                settled_by_recheck=True,
                needs_run=True,
            ),
        ),
    )
    SERVICE_CHANGED = Kind(
        "service_changed",
        Facts(
            label="Service changed",
            meaning="A service has other settings or files than we wrote.",
            note=("{n} service changed", "{n} services changed"),
            tone="bad",
            plane="cloud_run",
            comparison=f"{SWEPT}.services.compare_endpoints",
            repair=Repair(
                path=f"{REPAIRS}.repair_change",
                slug="take_over",
                button="Take it over",
                changes_production=False,
                settled_by_recheck=True,
            ),
            alternatives=(
                Repair(
                    path=f"{REPAIRS}.put_ours_back",
                    slug="put_back",
                    button="Put ours back",
                    changes_production=True,
                ),
            ),
        ),
    )
    LEFTOVER_SERVICE = Kind(
        "leftover_service",
        Facts(
            label="Leftover service",
            meaning="Cloud Run has a service with our label that no endpoint needs.",
            note=("{n} leftover service", "{n} leftover services"),
            tone="warn",
            plane="cloud_run",
            comparison=f"{SWEPT}.services.compare_leftovers",
            repair=Repair(
                path="ml_platform.services.repairs.leftovers.delete_leftover",
                button="Delete the service",
                changes_production=True,
            ),
        ),
    )
