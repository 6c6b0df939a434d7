"""Kinds of finding that a sweep of Cloud Storage makes."""

from __future__ import annotations

from .kind import REPAIRS, SWEPT, Facts, Kind, Repair

_RESTORE = Repair(
    path=f"{REPAIRS}.repair_files",
    button="Restore the recorded files",
    changes_production=True,
    settled_by_recheck=True,
    needs_run=True,
    needs_evidence="restores_to",
)


class StorageKinds:
    """Kinds of finding that a sweep of Cloud Storage makes."""

    ARTIFACTS_MISSING = Kind(
        "artifacts_missing",
        Facts(
            label="Artifacts missing",
            meaning="A registered version has no saved model in Cloud Storage.",
            note=("{n} without artifacts", "{n} without artifacts"),
            tone="bad",
            plane="gcs",
            comparison=f"{SWEPT}.artifacts.compare_artifacts",
            repair=_RESTORE,
        ),
    )
    ARTIFACTS_CHANGED = Kind(
        "artifacts_changed",
        Facts(
            label="Artifacts changed",
            meaning="The files of a registered version are not those of its manifest.",
            note=("{n} with other files", "{n} with other files"),
            tone="bad",
            plane="gcs",
            comparison=f"{SWEPT}.artifacts.compare_artifacts",
            repair=_RESTORE,
        ),
    )
    ARTIFACTS_INCOMPLETE = Kind(
        "artifacts_incomplete",
        Facts(
            label="Artifacts incomplete",
            meaning="Files of a registered version are missing.",
            note=("{n} lacks files", "{n} lack files"),
            tone="bad",
            plane="gcs",
            comparison=f"{SWEPT}.artifacts.compare_artifacts",
            repair=_RESTORE,
        ),
    )
