"""What an operation wants, did or is doing, and which steps it has still before it, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ml_platform.models import Operation
from ml_platform.models.states import FindingStatus, OperationKind, OperationStatus
from ml_platform.services.cleanup.orphans import ORPHANS
from ml_platform.services.operations.engine import Step, Workflow
from ml_platform.services.operations.store import digest
from ml_platform.services.operations.worker import workflows


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody wants and what was done, around the name of the subject; and the usual path
    of it, where the recipe of its kind has other paths too."""

    want: str
    did: str
    path: tuple[str, ...] = ()


KINDS: Mapping[str, Deed] = {
    OperationKind.SUBMIT: Deed("submit {}", "submitted {}"),
    OperationKind.CANCEL: Deed("cancel {}", "cancelled {}"),
    OperationKind.REGISTER: Deed("register {}", "registered {}"),
    OperationKind.DEPLOY: Deed("deploy {}", "deployed {}"),
    OperationKind.UNDEPLOY: Deed("undeploy {}", "undeployed {}"),
    OperationKind.REDEPLOY: Deed("redeploy {}", "redeployed {}"),
    OperationKind.DELETE: Deed("delete {}", "deleted {}"),
    OperationKind.ADOPT: Deed("adopt {}", "adopted {}"),
    OperationKind.REPAIR: Deed("repair {}", "repaired {}"),
    OperationKind.CLEANUP: Deed("clean up {}", "cleaned up {}"),
    OperationKind.SCHEDULE: Deed("change the schedule {}", "changed the schedule {}"),
    OperationKind.ALIAS: Deed("change the aliases of {}", "changed the aliases of {}"),
    OperationKind.IGNORE: Deed("ignore the finding {}", "ignored the finding {}"),
    OperationKind.UNIGNORE: Deed("reopen the finding {}", "reopened the finding {}"),
    OperationKind.METRICS: Deed("collect {}", "collected {}"),
    OperationKind.SWEEP: Deed("check {}", "checked {}"),
}
DEPLOY_PATH = (
    *("verify_model", "verify_artifacts", "look", "upsert"),
    *("wait", "confirm", "record", "set_invokers"),
)
BEGINNINGS: Mapping[str, Deed] = {
    "verify_model": Deed("", "", DEPLOY_PATH),
    "check": Deed("", "", ("check", "look", "delete", "wait", "artifacts")),
    "look_at_versions": Deed(
        "clear the stale pointers of {}",
        "cleared the stale pointers of {}",
        ("look_at_versions", "lose", "close"),
    ),
    "find_lost": Deed(
        "restore the lost versions of {}",
        "restored the lost versions of {}",
        ("find_lost", "restore", "close"),
    ),
    "check_unmanaged": Deed(
        "delete {} from Vertex AI",
        "deleted {} from Vertex AI",
        ("check_unmanaged", "delete_model", "wait_for_deletion", "confirm_gone", "close"),
    ),
    "look_at_service": Deed(
        "record what {} serves", "recorded what {} serves", ("look_at_service", "close")
    ),
    "list_versions": Deed(
        "delete surplus versions of {}",
        "deleted surplus versions of {}",
        ("list_versions", "purge", "wait_for_purge", "end_surplus"),
    ),
    "read_leftover": Deed(
        "delete the leftover service {}",
        "deleted the leftover service {}",
        ("read_leftover", "delete_leftover", "wait_for_leftover", "end_leftover"),
    ),
    "delete_orphan": Deed("delete the orphan {}", "deleted the orphan {}", ("delete_orphan",)),
    "mark_artifacts": Deed(
        "", "", ("mark_artifacts", "recheck_artifacts", "delete_artifacts", "find_strays")
    ),
    "look_at_job": Deed("set up the job {}", "set up the job {}", ("look_at_job", "job_stands")),
}
"""Operations of a kind that does several things, told apart by the step they begin with."""
TURNS: Mapping[str, Deed] = {
    state: Deed(f"{want} the schedule {{}}", f"{did} the schedule {{}}", ("look", step, "record"))
    for state, want, did, step in (
        ("Active", "resume", "resumed", "resume"),
        ("Paused", "pause", "paused", "pause"),
        ("Cancelled", "end", "ended", "delete"),
        ("Completed", "complete", "completed", "delete"),
    )
}
"""Changes of a schedule, by the state it was brought to."""
CREATION = Deed("create the schedule {}", "created the schedule {}", ("look", "create", "record"))
LOOKED = Deed("look at {}", "looked at {}: nothing to repair")
STEMS: Mapping[str, str] = {"set": "sett", "cancel": "cancell", "see": "see"}
CLAUSES: Mapping[str, str] = {
    OperationStatus.PENDING: "waits to {want}",
    OperationStatus.RUNNING: "began to {want}",
    OperationStatus.SUCCEEDED: "{did}",
    OperationStatus.FAILED: "could not {want}",
    OperationStatus.CANCELLED: "cancelled: {want}",
}

REFUSED = "asked to {want}"


def deed_of(operation: Operation) -> Deed:
    """What this operation is about, as exactly as its row tells."""
    kind = operation.get_kind_display().lower()
    usual = KINDS.get(operation.kind) or Deed(f"{kind} {{}}", f"{kind} {{}}")
    first = str(operation.steps[0].get("step", "")) if operation.steps else operation.step
    if operation.data.get("ended_as") == FindingStatus.GONE:
        return LOOKED
    if operation.kind == OperationKind.SCHEDULE and operation.subject_type == "trainingschedule":
        created = operation.request_digest != digest({})
        return CREATION if created else TURNS.get(operation.reason, usual)
    if operation.subject_type == ORPHANS:
        return usual
    if operation.kind == OperationKind.CLEANUP and operation.subject_type == "trainingrun":
        return Deed("delete {}", "deleted {}")
    special = BEGINNINGS.get(first)
    if special is None:
        return usual
    return special if special.want else Deed(usual.want, usual.did, special.path)


def clause(operation: Operation) -> tuple[str, str]:
    """What somebody did, in words before and after the subject's name."""
    deed = deed_of(operation)
    template = REFUSED if operation.was_refused else CLAUSES[operation.status]
    told = template.format(want=deed.want, did=deed.did)
    before, _, after = told.partition("{}")
    return before.strip(), after.strip()


def heading(operation: Operation) -> tuple[str, str]:
    """What somebody wants, as the title of a page, in words before and after the subject's name."""
    before, _, after = deed_of(operation).want.partition("{}")
    return before[:1].upper() + before[1:].strip(), after.strip()


def planned(operation: Operation) -> tuple[Step, ...]:
    """The steps that a live operation has before it, the one it is at first; some it may skip."""
    workflow = workflows().get(operation.kind)
    if workflow is None:
        return ()
    names, at = _path(operation, workflow), operation.step
    ahead = names[names.index(at) + 1 :] if at in names else names
    left = [name for name in ahead if name not in _done(operation)]
    return tuple(workflow.step(name) for name in (at, *left))


def progress(operation: Operation) -> tuple[int, int]:
    """How many steps of how many are done."""
    workflow = workflows().get(operation.kind)
    if workflow is None:
        return 0, 0
    names, at = _path(operation, workflow), operation.step
    passed = names.index(at) if at in names else 0
    return max(passed, len(_done(operation) & set(names) - {at})), len(names)


def _path(operation: Operation, workflow: Workflow) -> tuple[str, ...]:
    return deed_of(operation).path or tuple(step.name for step in workflow.steps)


def _done(operation: Operation) -> set[str]:
    return {str(e.get("step")) for e in operation.steps if e.get("status") == "done"}


def doing(title: str) -> str:
    """`Upload to Vertex AI` as `uploading to Vertex AI`."""
    verb, _, rest = title.partition(" ")
    verb = verb.lower()
    stem = STEMS.get(verb) or verb.removesuffix("e")
    return f"{stem}ing {rest}".strip()
