"""What the parts of an import share: the report, the planes' answers, and who came as what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from ml_platform.cloud import cloud_run, scheduler
from ml_platform.cloud.answers import Absent, Answer, Present, Unknown, ask
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.types import RemoteJob, RemoteModel, RemoteService
from ml_platform.errors import Invalid
from ml_platform.models import Operation
from ml_platform.models.states import LIVE_OPERATION_STATUSES, OperationKind, OperationStatus
from ml_platform.services.mirror.brake import require_believed
from ml_platform.services.operations.store import Actor, Subject
from ml_platform.services.operations.work import Clock
from ml_platform.services.operations.workflow import Workflow
from ml_platform.services.registry.verification import read_versions, require_listing
from ml_platform.services.repairs.reconciliation import finish_operation
from ml_platform.services.training.runs import keyed_uid

from .candidates import C, ModelRow, candidate_of
from .host_rows import read_pages, table_of
from .mapping import PlatformMap

T = TypeVar("T")

IMPORT = Workflow(
    slug="import-rows",
    kind=OperationKind.ADOPT,
    title="Import {}",
    past="imported {}",
)
"""Rows of our tables alone. What changes Google Cloud too is an adoption or a takeover."""


class Outcome(StrEnum):
    """What becomes of a row of the host."""

    IMPORTED = "imported"
    PRESENT = "present"
    LEFT_OUT = "left_out"
    """By what the planes say: there is nothing to bring."""
    WAITS = "waits"
    """A plane gave no answer, or the host still works on it: another import decides."""
    REFUSED = "refused"
    """A person has to change something first."""


class Decision(NamedTuple):
    """What becomes of a row, and why."""

    outcome: Outcome
    why: str = ""


UNDECIDED = Decision(Outcome.WAITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of the report."""

    kind: str
    """The table of the mapping, in the singular: project, model, run, schedule, endpoint."""
    key: str
    name: str
    outcome: Outcome
    why: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A run of the host that says that it is a version in Vertex AI."""

    run: UUID
    registered_at: str


@dataclass(slots=True)
class HostModel:
    """A model name of the host: what Vertex AI answered, and what became of it."""

    row: ModelRow
    name: ModelName | None = None
    answer: Answer[list[RemoteModel]] | None = None
    decision: Decision = UNDECIDED
    claims: dict[str, Claim] = field(default_factory=dict)
    """Its runs that are versions in Vertex AI, by the number there."""

    def has(self, version: str) -> bool:
        """Whether Vertex AI has that version."""
        there = self.answer.value if isinstance(self.answer, Present) else []
        return version in {each.version for each in there}


@dataclass(slots=True, kw_only=True)
class Importing:
    """One pass over the host's rows. Without `write` it only reads, here and at Google."""

    mapping: PlatformMap
    actor: Actor
    clock: Clock
    write: bool
    entries: list[Entry] = field(default_factory=list)
    users: dict[str, Any] = field(default_factory=dict)
    """Our users by the keys that the host's have."""
    projects: dict[str, Any] = field(default_factory=dict)
    """Our projects by the keys of the host's; None for one that a pass with `write` would make."""
    models: dict[str, HostModel] = field(default_factory=dict)
    runs_of: dict[str, list[UUID]] = field(default_factory=dict)
    """The uids of the runs of each schedule, by its key."""
    _at: dict[tuple[str, str], HostModel] = field(default_factory=dict)

    def candidates(self, name: str, kind: type[C]) -> Iterator[list[C]]:
        """Yield the rows of a table of the mapping as what they would be here, page by page; one
        that cannot be any is reported."""
        section = self.mapping.sections().get(name)
        if section is None:
            return
        for page in read_pages(self.mapping.database, name, section):
            found = []
            for row in page:
                try:
                    found.append(candidate_of(kind, section, row))
                except Invalid as error:
                    key = str(section.key.read(row))
                    self.note(name, key, key, Decision(Outcome.REFUSED, str(error)))
            yield found

    def note(self, section: str, key: str, name: str, decision: Decision) -> Decision:
        """Report what becomes of a row."""
        kind = section.removesuffix("s")
        self.entries.append(Entry(kind=kind, key=key, name=name, **decision._asdict()))
        return decision

    def model_at(self, pointer: ModelName | None) -> HostModel | None:
        """The model of the host that a pointer is about, whatever the project is called in it."""
        if pointer is None:
            return None
        return self._at.get((pointer.location, pointer.model_id))

    def add_model(self, model: HostModel) -> None:
        """Remember a model of the host."""
        self.models[model.row.key] = model
        if model.name:
            self._at.setdefault((model.name.location, model.name.model_id), model)

    def place_of(self, section: str) -> str:
        """The table of the database, however the mapping names it."""
        return table_of(section, self.mapping.sections()[section])

    def uid(self, section: str, key: str) -> UUID:
        """The uid that a row of the host always gets here, so that it comes once."""
        return keyed_uid("import", self.mapping.database, self.place_of(section), key)

    def finish(self, operation: Operation) -> Decision:
        """Carry an operation on to its end."""
        ended = finish_operation(operation=operation, clock=self.clock)
        if ended.status in LIVE_OPERATION_STATUSES:
            words = f"Operation {ended.pk} is unfinished: {ended.error}".strip(": ")
            return Decision(Outcome.WAITS, f"{words}. Import again, or run resume_operations.")
        if ended.status != OperationStatus.SUCCEEDED:
            return Decision(Outcome.REFUSED, f"{ended.error} {ended.advice}".strip())
        notes = [step["note"] for step in ended.steps if step.get("note")]
        return Decision(Outcome.IMPORTED, notes[-1] if notes else "")


def subject_of(project: Any, name: str) -> Subject:
    """Return what came into a project, as an operation's subject."""
    return Subject(type="project", id=str(project.pk), name=name, project_id=project.pk)


# ---- the planes --------------------------------------------------------------------------------


def ask_versions(name: ModelName) -> Answer[list[RemoteModel]]:
    """The versions of a model in Vertex AI."""
    return _proved(ask(lambda: read_versions(name)), require_listing)


def ask_service(name: str) -> Answer[RemoteService]:
    """A service on Cloud Run."""
    return _proved(ask(lambda: cloud_run.get_service(name)), lambda: require_believed("cloud_run"))


def ask_job(job_id: str) -> Answer[RemoteJob]:
    """A job of Cloud Scheduler."""
    return _proved(ask(lambda: scheduler.get_job(job_id)), lambda: require_believed("scheduler"))


def _proved(answer: Answer[T], check: Callable[[], None]) -> Answer[T]:
    """NOT_FOUND proves that something is gone only while the plane is believed (law 3)."""
    proof = ask(check) if isinstance(answer, Absent) else Present(None)
    return answer if isinstance(proof, Present) else Unknown(proof.reason, "not_believed")
