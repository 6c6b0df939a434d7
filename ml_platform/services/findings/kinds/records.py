"""Kinds of finding that our records suffice for."""

from __future__ import annotations

from .kind import REPAIRS, SWEPT, Facts, Kind, Repair


class RecordKinds:
    """Kinds of finding that our records suffice for."""

    ARTIFACTS_LEFT = Kind(
        "artifacts_left",
        Facts(
            label="Artifacts left",
            meaning="Cloud Storage refused to delete files of a deleted version.",
            note=("{n} left files", "{n} left files"),
            tone="warn",
            comparison=f"{SWEPT}.artifacts.compare_left",
            repair=Repair(
                path="ml_platform.services.removal.removal.remove_left",
                button="Delete what is left",
                changes_production=True,
                needs_run=True,
            ),
        ),
    )
    COUNTER_WRONG = Kind(
        "counter_wrong",
        Facts(
            label="Counter wrong",
            meaning="The counters of registered models were not what a recount finds.",
            note=("{n} counter wrong", "{n} counters wrong"),
            tone="warn",
            comparison=f"{SWEPT}.counters.compare_counters",
        ),
    )
    ORPHAN = Kind(
        "orphan",
        Facts(
            label="Orphan",
            meaning="A model name was never registered, and nothing needs it.",
            note=("{n} never registered", "{n} never registered"),
            tone="quiet",
            comparison=f"{SWEPT}.models.compare_orphans",
            repair=Repair(
                path=f"{REPAIRS}.repair_orphan",
                button="Delete the orphan",
                changes_production=False,
            ),
        ),
    )
