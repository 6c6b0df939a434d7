"""What a kind of finding is: its words, the comparison that finds it, and its repairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from django.utils.module_loading import import_string

from ml_platform.models import Finding
from ml_platform.services.access.rights import Right

SWEPT = "ml_platform.services.sweeps.planes"
REPAIRS = "ml_platform.services.repairs.reconciliation"


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


class Kind(str):
    """A kind of finding: the slug that the database stores, with its facts."""

    facts: Facts

    def __new__(cls, slug: str, facts: Facts) -> Self:
        kind = super().__new__(cls, slug)
        kind.facts = facts
        return kind

    def __getnewargs__(self) -> tuple[str, Facts]:  # type: ignore[override] # copies keep the facts
        return str(self), self.facts
