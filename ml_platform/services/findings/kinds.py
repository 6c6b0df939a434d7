"""The closed table of finding kinds: what each means, what finds it, and what repairs it.

A new kind is one entry here and the comparison that makes it. Comparisons and repairs are named by
their dotted paths, because their packages import this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from django.db.models import Case, IntegerField, Value, When
from django.utils.module_loading import import_string

from ml_platform.models import Finding
from ml_platform.models.sweep import PLANE_SHRUNK, VERSION_MISSING
from ml_platform.services.access.rights import Right

_SWEEPS = "ml_platform.services.sweeps"
_REPAIRS = "ml_platform.services.repairs.reconciliation"
_ALIASES = "ml_platform.services.repairs.aliases"
_JOBS = "ml_platform.services.scheduling.repairs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """One repair of a kind."""

    path: str
    """Function that opens it: `(*, finding, registered_model, actor, now) -> Operation`."""
    slug: str = "repair"
    """How API and commands name it, unique among the repairs of its kind."""
    button: str
    changes_production: bool
    """Whether it changes Google Cloud; otherwise it changes our records only."""
    settled_by_recheck: bool = False
    """Whether the finding is closed when its repair finds no error."""
    needs_model: bool = True
    """Whether it changes a registered model, its versions or its schedule."""
    needs_run: bool = False
    """Whether it needs to know the version that the finding is about."""
    needs_evidence: str = ""
    """The evidence without which a finding of the kind has no repair."""

    def why_not(self, finding: Finding) -> str:
        """Return why the comparison excluded it for this finding, '' if it did not."""
        return str(finding.evidence.get(f"no_{self.slug}", ""))

    def is_possible(self, finding: Finding) -> bool:
        """Whether the finding has what this repair needs, and was not excluded from it."""
        without_model = self.needs_model and finding.registered_model_id is None
        without_run = self.needs_run and finding.run_id is None
        untold = bool(self.needs_evidence) and self.needs_evidence not in finding.evidence
        return not (without_model or without_run or untold or self.why_not(finding))

    def load(self) -> Any:
        """Return the function that opens the repair."""
        return import_string(self.path)


_RESTORE = Repair(
    path=f"{_REPAIRS}.repair_files",
    button="Restore the recorded files",
    changes_production=True,
    settled_by_recheck=True,
    needs_run=True,
    needs_evidence="restores_to",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the platform knows about a kind."""

    label: str
    meaning: str
    note: tuple[str, str]
    """How the count strip counts them: for one, and for several."""
    tone: str
    comparison: str
    """Function that makes them in a sweep: `(reading) -> Iterator[Compared]`, by chunks."""
    plane: str = ""
    """The plane that a sweep must have read to find them; '' when our records suffice."""
    repair: Repair | None = None
    """The safe repair: the one that needs no decision by a person."""
    alternatives: tuple[Repair, ...] = ()
    """Other repairs. Where there are several, a person names the one they want."""
    needs_choice: bool = False
    """Whether a person has to choose: adopt the model, delete it or leave it."""
    is_alarm: bool = False
    """Whether it is about a whole plane: a person has to confirm it before anything is repaired."""
    closed_by_sweep: bool = True
    """Whether a sweep that does not see one closes it; otherwise only its repair does."""
    right: Right = Right.ADMINISTER
    """The right to repair it, to ignore it, or to choose."""

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """All repairs, the safe one first."""
        return (*((self.repair,) if self.repair else ()), *self.alternatives)


class FindingKind(StrEnum):
    """The kinds, worst first. The value is the slug that the database stores."""

    facts: Facts

    def __new__(cls, slug: str, *facts: Facts) -> Self:
        # Only the definitions below give facts: `FindingKind("orphan")` looks one of them up.
        kind = str.__new__(cls, slug)
        kind._value_ = slug
        [kind.facts] = facts
        return kind

    PLANE_SHRUNK = (
        PLANE_SHRUNK,
        Facts(
            label="Plane shrunk",
            meaning="A plane suddenly lacks more than a tenth of what it had.",
            note=("{n} plane not believed", "{n} planes not believed"),
            tone="bad",
            comparison=f"{_SWEEPS}.shrinking.compare_planes",
            is_alarm=True,
        ),
    )
    SERVING_UNVERIFIED = (
        "serving_unverified",
        Facts(
            label="Serving unverified",
            meaning="An active endpoint serves what is not a registered, verified version.",
            note=("{n} serves what is not verified", "{n} serve what is not verified"),
            tone="bad",
            plane="cloud_run",
            comparison=f"{_SWEEPS}.services.compare_endpoints",
            repair=Repair(
                path="ml_platform.services.registration.again.register_served",
                button="Register again",
                changes_production=True,
                needs_run=True,
            ),
        ),
    )
    STALE_POINTER = (
        "stale_pointer",
        Facts(
            label="Stale pointer",
            meaning="A record points at a model that Vertex AI does not list.",
            note=("{n} points at nothing", "{n} point at nothing"),
            tone="bad",
            plane="vertex",
            comparison=f"{_SWEEPS}.models.compare_lineages",
            repair=Repair(
                path=f"{_REPAIRS}.repair_pointers",
                button="Clear the pointers",
                changes_production=False,
                settled_by_recheck=True,
            ),
        ),
    )
    VERSION_MISMATCH = (
        "version_mismatch",
        Facts(
            label="Version mismatch",
            meaning="Vertex AI has a different version than we recorded.",
            note=("{n} version differs", "{n} versions differ"),
            tone="bad",
            plane="vertex",
            comparison=f"{_SWEEPS}.models.compare_unclaimed_models",
            repair=Repair(
                path=f"{_REPAIRS}.repair_pointers",
                button="Correct the pointers",
                changes_production=False,
                needs_run=True,
            ),
        ),
    )
    VERSION_MISSING = (
        VERSION_MISSING,
        Facts(
            label="Version missing",
            meaning="Vertex AI has a registered model without one of its registered versions.",
            note=("{n} version missing", "{n} versions missing"),
            tone="bad",
            plane="vertex",
            comparison=f"{_SWEEPS}.versions.compare_versions",
            repair=Repair(
                path=f"{_REPAIRS}.repair_pointers",
                button="Clear the pointers",
                changes_production=False,
                settled_by_recheck=True,
            ),
        ),
    )
    LABELS_CHANGED = (
        "labels_changed",
        Facts(
            label="Labels changed",
            meaning="A registered version is in Vertex AI without our labels.",
            note=("{n} without our labels", "{n} without our labels"),
            tone="bad",
            plane="vertex",
            comparison=f"{_SWEEPS}.models.compare_lineages",
            repair=Repair(
                path=f"{_REPAIRS}.repair_labels",
                button="Relabel the version",
                changes_production=True,
                settled_by_recheck=True,
                needs_run=True,
            ),
        ),
    )
    ALIAS_MOVED = (
        "alias_moved",
        Facts(
            label="Alias moved",
            meaning="Vertex AI has an alias on another version than our records.",
            note=("{n} alias moved", "{n} aliases moved"),
            tone="bad",
            plane="vertex",
            comparison=f"{_SWEEPS}.versions.compare_versions",
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
    ARTIFACTS_MISSING = (
        "artifacts_missing",
        Facts(
            label="Artifacts missing",
            meaning="A registered version has no saved model in Cloud Storage.",
            note=("{n} without artifacts", "{n} without artifacts"),
            tone="bad",
            plane="gcs",
            comparison=f"{_SWEEPS}.artifacts.compare_artifacts",
            repair=_RESTORE,
        ),
    )
    ARTIFACTS_CHANGED = (
        "artifacts_changed",
        Facts(
            label="Artifacts changed",
            meaning="The files of a registered version are not those of its manifest.",
            note=("{n} with other files", "{n} with other files"),
            tone="bad",
            plane="gcs",
            comparison=f"{_SWEEPS}.artifacts.compare_artifacts",
            repair=_RESTORE,
        ),
    )
    ARTIFACTS_INCOMPLETE = (
        "artifacts_incomplete",
        Facts(
            label="Artifacts incomplete",
            meaning="Files of a registered version are missing.",
            note=("{n} lacks files", "{n} lack files"),
            tone="bad",
            plane="gcs",
            comparison=f"{_SWEEPS}.artifacts.compare_artifacts",
            repair=_RESTORE,
        ),
    )
    SERVICE_MISSING = (
        "service_missing",
        Facts(
            label="Service missing",
            meaning="An endpoint is active, but Cloud Run does not list its service.",
            note=("{n} service missing", "{n} services missing"),
            tone="bad",
            plane="cloud_run",
            comparison=f"{_SWEEPS}.services.compare_endpoints",
            repair=Repair(
                path=f"{_REPAIRS}.repair_endpoint",
                button="Record what is there",
                changes_production=False,
                settled_by_recheck=True,
            ),
        ),
    )
    SERVICE_MISMATCH = (
        "service_mismatch",
        Facts(
            label="Service mismatch",
            meaning="A service serves a different version than its endpoint records.",
            note=("{n} serves another", "{n} serve another"),
            tone="bad",
            plane="cloud_run",
            comparison=f"{_SWEEPS}.services.compare_endpoints",
            repair=Repair(
                path=f"{_REPAIRS}.repair_endpoint",
                button="Record what it serves",
                changes_production=False,
                settled_by_recheck=True,
                needs_run=True,
            ),
        ),
    )
    SERVICE_LABELS_CHANGED = (
        "service_labels_changed",
        Facts(
            label="Service labels changed",
            meaning="The service of an active endpoint is on Cloud Run without our labels.",
            note=("{n} service without our labels", "{n} services without our labels"),
            tone="bad",
            plane="cloud_run",
            comparison=f"{_SWEEPS}.services.compare_endpoints",
            repair=Repair(
                path=f"{_REPAIRS}.repair_service_labels",
                button="Relabel the service",
                changes_production=True,
                settled_by_recheck=True,
                needs_run=True,
            ),
        ),
    )
    SERVICE_CHANGED = (
        "service_changed",
        Facts(
            label="Service changed",
            meaning="A service has other settings or files than we wrote.",
            note=("{n} service changed", "{n} services changed"),
            tone="bad",
            plane="cloud_run",
            comparison=f"{_SWEEPS}.services.compare_endpoints",
            repair=Repair(
                path=f"{_REPAIRS}.repair_change",
                slug="take_over",
                button="Take it over",
                changes_production=False,
                settled_by_recheck=True,
            ),
            alternatives=(
                Repair(
                    path=f"{_REPAIRS}.put_ours_back",
                    slug="put_back",
                    button="Put ours back",
                    changes_production=True,
                ),
            ),
        ),
    )
    VERTEX_ENDPOINT_UNREGISTERED = (
        "vertex_endpoint_unregistered",
        Facts(
            label="Unregistered at an endpoint",
            meaning="A Vertex AI endpoint serves a version of our model that is not registered.",
            note=("{n} unregistered at an endpoint", "{n} unregistered at endpoints"),
            tone="bad",
            plane="vertex_endpoints",
            comparison=f"{_SWEEPS}.vertex_endpoints.compare_vertex_endpoints",
        ),
    )
    SCHEDULE_MISSING = (
        "schedule_missing",
        Facts(
            label="Schedule missing",
            meaning="Cloud Scheduler does not list the job of a schedule.",
            note=("{n} schedule without a job", "{n} schedules without a job"),
            tone="bad",
            plane="scheduler",
            comparison=f"{_SWEEPS}.jobs.compare_schedules",
            repair=Repair(
                path=f"{_JOBS}.repair_schedule",
                button="Create the job again",
                changes_production=True,
                settled_by_recheck=True,
            ),
        ),
    )
    SCHEDULE_PAUSED = (
        "schedule_paused",
        Facts(
            label="Schedule paused",
            meaning="The job of an active schedule is paused in Cloud Scheduler.",
            note=("{n} schedule's job paused", "{n} schedules' jobs paused"),
            tone="bad",
            plane="scheduler",
            comparison=f"{_SWEEPS}.jobs.compare_schedules",
            repair=Repair(
                path=f"{_JOBS}.repair_schedule",
                button="Resume the job",
                changes_production=True,
                settled_by_recheck=True,
            ),
        ),
    )
    SCHEDULE_CHANGED = (
        "schedule_changed",
        Facts(
            label="Schedule changed",
            meaning="The job of a schedule differs from what the schedule says.",
            note=("{n} schedule changed", "{n} schedules changed"),
            tone="bad",
            plane="scheduler",
            comparison=f"{_SWEEPS}.jobs.compare_schedules",
            repair=Repair(
                path=f"{_JOBS}.repair_schedule",
                button="Put ours back",
                changes_production=True,
                settled_by_recheck=True,
            ),
        ),
    )
    SCHEDULE_OVERDUE = (
        "schedule_overdue",
        Facts(
            label="Schedule overdue",
            meaning="The time of an active schedule has passed without a run.",
            note=("{n} schedule overdue", "{n} schedules overdue"),
            tone="bad",
            plane="scheduler",
            comparison=f"{_SWEEPS}.jobs.compare_schedules",
            repair=Repair(
                path=f"{_JOBS}.repair_schedule",
                button="Correct the job, expect the next time",
                changes_production=True,
                settled_by_recheck=True,
            ),
        ),
    )
    JOB_MISSING = (
        "job_missing",
        Facts(
            label="Job missing",
            meaning="Cloud Scheduler does not list a job of the platform that was set up.",
            note=("{n} job missing", "{n} jobs missing"),
            tone="bad",
            plane="scheduler",
            comparison=f"{_SWEEPS}.jobs.compare_platform_jobs",
            repair=Repair(
                path=f"{_JOBS}.repair_job",
                button="Create the job again",
                changes_production=True,
                settled_by_recheck=True,
                needs_model=False,
            ),
        ),
    )
    JOB_PAUSED = (
        "job_paused",
        Facts(
            label="Job paused",
            meaning="A job of the platform is paused in Cloud Scheduler.",
            note=("{n} job paused", "{n} jobs paused"),
            tone="bad",
            plane="scheduler",
            comparison=f"{_SWEEPS}.jobs.compare_platform_jobs",
            repair=Repair(
                path=f"{_JOBS}.repair_job",
                button="Resume the job",
                changes_production=True,
                settled_by_recheck=True,
                needs_model=False,
            ),
        ),
    )
    JOB_CHANGED = (
        "job_changed",
        Facts(
            label="Job changed",
            meaning="A job of the platform differs from what was set up.",
            note=("{n} job changed", "{n} jobs changed"),
            tone="bad",
            plane="scheduler",
            comparison=f"{_SWEEPS}.jobs.compare_platform_jobs",
            repair=Repair(
                path=f"{_JOBS}.repair_job",
                button="Put ours back",
                changes_production=True,
                settled_by_recheck=True,
                needs_model=False,
            ),
        ),
    )
    UNMANAGED = (
        "unmanaged",
        Facts(
            label="Unmanaged in Vertex AI",
            meaning="Vertex AI has a model that is not registered here.",
            note=("{n} only in Vertex AI", "{n} only in Vertex AI"),
            tone="warn",
            plane="vertex",
            comparison=f"{_SWEEPS}.models.compare_unclaimed_models",
            needs_choice=True,
        ),
    )
    MORE_VERSIONS = (
        "more_versions",
        Facts(
            label="More versions",
            meaning="Vertex AI has versions of a registered model that no record has.",
            note=("{n} with more versions", "{n} with more versions"),
            tone="warn",
            plane="vertex",
            comparison=f"{_SWEEPS}.versions.compare_versions",
            repair=Repair(
                path="ml_platform.services.registration.more_versions.adopt_rest",
                button="Adopt the rest",
                changes_production=True,
                settled_by_recheck=True,
            ),
        ),
    )
    SURPLUS_VERSION = (
        "surplus_version",
        Facts(
            label="Surplus version",
            meaning="Vertex AI has a second version of a run, or a version of a deleted run.",
            note=("{n} surplus version", "{n} surplus versions"),
            tone="warn",
            plane="vertex",
            comparison=f"{_SWEEPS}.models.compare_unclaimed_models",
            # A listing shows default versions only: the comparison of all versions closes it.
            closed_by_sweep=False,
            repair=Repair(
                path=f"{_REPAIRS}.repair_surplus",
                button="Delete the surplus versions",
                changes_production=True,
            ),
        ),
    )
    LEFTOVER_SERVICE = (
        "leftover_service",
        Facts(
            label="Leftover service",
            meaning="Cloud Run has a service with our label that no endpoint needs.",
            note=("{n} leftover service", "{n} leftover services"),
            tone="warn",
            plane="cloud_run",
            comparison=f"{_SWEEPS}.services.compare_leftovers",
            repair=Repair(
                path="ml_platform.services.repairs.services.delete_leftover",
                button="Delete the service",
                changes_production=True,
            ),
        ),
    )
    ARTIFACTS_LEFT = (
        "artifacts_left",
        Facts(
            label="Artifacts left",
            meaning="Cloud Storage refused to delete files of a deleted version.",
            note=("{n} left files", "{n} left files"),
            tone="warn",
            comparison=f"{_SWEEPS}.artifacts.compare_left",
            repair=Repair(
                path="ml_platform.services.removal.removal.remove_left",
                button="Delete what is left",
                changes_production=True,
                needs_run=True,
            ),
        ),
    )
    ORPHAN = (
        "orphan",
        Facts(
            label="Orphan",
            meaning="A model name was never registered, and nothing needs it.",
            note=("{n} never registered", "{n} never registered"),
            tone="quiet",
            comparison=f"{_SWEEPS}.models.compare_orphans",
            repair=Repair(
                path=f"{_REPAIRS}.repair_orphan",
                button="Delete the orphan",
                changes_production=False,
            ),
        ),
    )


def facts_of(finding: Finding) -> Facts:
    """Return what the platform knows about a finding's kind."""
    return FindingKind(finding.kind).facts


def kinds_of(plane: str) -> tuple[FindingKind, ...]:
    """The kinds that a sweep cannot judge without that plane."""
    return tuple(kind for kind in FindingKind if kind.facts.plane == plane)


def worst_first() -> Case:
    """Order findings by their kind; a kind that this release does not know comes last."""
    return Case(
        *(When(kind=kind, then=Value(place)) for place, kind in enumerate(FindingKind)),
        default=Value(len(FindingKind)),
        output_field=IntegerField(),
    )
