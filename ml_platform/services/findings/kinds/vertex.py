"""Kinds of finding that a sweep of the Vertex AI Model Registry makes."""

from __future__ import annotations

from ml_platform.models.sweeps.finding import VERSION_MISSING

from .kind import REPAIRS, SWEPT, Facts, Kind, Repair

_ALIASES = "ml_platform.services.repairs.aliases"


class VertexKinds:
    """Kinds of finding that a sweep of the Vertex AI Model Registry makes."""

    STALE_POINTER = Kind(
        "stale_pointer",
        Facts(
            label="Stale pointer",
            meaning="A record points at a model that Vertex AI does not list.",
            note=("{n} points at nothing", "{n} point at nothing"),
            tone="bad",
            plane="vertex",
            comparison=f"{SWEPT}.models.compare_lineages",
            repair=Repair(
                path=f"{REPAIRS}.repair_pointers",
                button="Clear the pointers",
                changes_production=False,
                settled_by_recheck=True,
            ),
        ),
    )
    VERSION_MISMATCH = Kind(
        "version_mismatch",
        Facts(
            label="Version mismatch",
            meaning="Vertex AI has a different version than we recorded.",
            note=("{n} version differs", "{n} versions differ"),
            tone="bad",
            plane="vertex",
            comparison=f"{SWEPT}.models.compare_unclaimed_models",
            repair=Repair(
                path=f"{REPAIRS}.repair_pointers",
                button="Correct the pointers",
                changes_production=False,
                needs_run=True,
            ),
        ),
    )
    VERSION_MISSING = Kind(
        VERSION_MISSING,
        Facts(
            label="Version missing",
            meaning="Vertex AI has a registered model without one of its registered versions.",
            note=("{n} version missing", "{n} versions missing"),
            tone="bad",
            plane="vertex",
            comparison=f"{SWEPT}.versions.compare_versions",
            repair=Repair(
                path=f"{REPAIRS}.repair_pointers",
                button="Clear the pointers",
                changes_production=False,
                settled_by_recheck=True,
            ),
        ),
    )
    LABELS_CHANGED = Kind(
        "labels_changed",
        Facts(
            label="Labels changed",
            meaning="A registered version is in Vertex AI without our labels.",
            note=("{n} without our labels", "{n} without our labels"),
            tone="bad",
            plane="vertex",
            comparison=f"{SWEPT}.models.compare_lineages",
            repair=Repair(
                path=f"{REPAIRS}.repair_labels",
                button="Relabel the version",
                changes_production=True,
                settled_by_recheck=True,
                needs_run=True,
            ),
        ),
    )
    ALIAS_MOVED = Kind(
        "alias_moved",
        Facts(
            label="Alias moved",
            meaning="Vertex AI has an alias on another version than our records.",
            note=("{n} alias moved", "{n} aliases moved"),
            tone="bad",
            plane="vertex",
            comparison=f"{SWEPT}.versions.compare_versions",
            repair=Repair(
                path=f"{_ALIASES}.take_over_alias",
                slug="take_over",
                button="Take it over",
                changes_production=False,
                settled_by_recheck=True,
            ),
            alternatives=(
                Repair(
                    path=f"{_ALIASES}.put_alias_back",
                    slug="put_back",
                    button="Put ours back",
                    changes_production=True,
                    settled_by_recheck=True,
                ),
            ),
        ),
    )
    UNMANAGED = Kind(
        "unmanaged",
        Facts(
            label="Unmanaged in Vertex AI",
            meaning="Vertex AI has a model that is not registered here.",
            note=("{n} only in Vertex AI", "{n} only in Vertex AI"),
            tone="warn",
            plane="vertex",
            comparison=f"{SWEPT}.models.compare_unclaimed_models",
            needs_choice=True,
        ),
    )
    MORE_VERSIONS = Kind(
        "more_versions",
        Facts(
            label="More versions",
            meaning="Vertex AI has versions of a registered model that no record has.",
            note=("{n} with more versions", "{n} with more versions"),
            tone="warn",
            plane="vertex",
            comparison=f"{SWEPT}.versions.compare_versions",
            repair=Repair(
                path="ml_platform.services.registration.more_versions.adopt_rest",
                button="Adopt the rest",
                changes_production=True,
                settled_by_recheck=True,
            ),
        ),
    )
    SURPLUS_VERSION = Kind(
        "surplus_version",
        Facts(
            label="Surplus version",
            meaning="Vertex AI has a second version of a run, or a version of a deleted run.",
            note=("{n} surplus version", "{n} surplus versions"),
            tone="warn",
            plane="vertex",
            comparison=f"{SWEPT}.models.compare_unclaimed_models",
            # A listing shows default versions only: the comparison of all versions closes it.
            closed_by_sweep=False,
            repair=Repair(
                path=f"{REPAIRS}.repair_surplus",
                button="Delete the surplus versions",
                changes_production=True,
            ),
        ),
    )
