"""What the repairs have in common: open one, read, delete in Vertex AI, and close its findings."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Absent, Present, Unknown, ask
from ml_platform.cloud.names import ModelName, OperationName
from ml_platform.cloud.types import RemoteModel, RemoteOperation
from ml_platform.errors import CloudAbsent, CloudUnavailable, Conflict, PlatformError
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel
from ml_platform.models.database import atomic
from ml_platform.models.states import FindingStatus
from ml_platform.services.findings.comparisons.services import service_subject
from ml_platform.services.findings.endings import end_findings
from ml_platform.services.findings.kinds import KINDS, Kind
from ml_platform.services.findings.store import findings_of, link_findings, standing
from ml_platform.services.installation import marker
from ml_platform.services.mirror.brake import PLANES, PlaneShrunk, why_unbelieved
from ml_platform.services.operations import worker
from ml_platform.services.operations.repeats import RepeatState, note_end, require_hope
from ml_platform.services.operations.state import State
from ml_platform.services.operations.store import Actor, Subject, open_operation
from ml_platform.services.operations.subjects import subject_of_endpoint
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll, Step, Workflow

STAYS_OPEN = "There was nothing to repair."
T = TypeVar("T")
S = TypeVar("S", bound=State)
R = TypeVar("R", bound="RepairState")


class NotOurs(Conflict):
    """The evidence that the version or service is ours does not hold."""

    code = "not_ours"
    advice = (
        "Nothing was changed. If it is ours, put the labels back in Google Cloud; "
        "otherwise adopt it, or register or deploy again under another name."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairState(RepeatState):
    """What every repair of a finding remembers."""

    ended_as: str = FindingStatus.REPAIRED
    """The status of its findings at the end: `repaired`, or `gone` when there was no problem."""


def open_repair(
    *,
    workflow: Workflow,
    subject: Subject,
    state: State,
    kinds: Collection[Kind],
    about: str | RegisteredModel,
    actor: Actor,
    now: datetime,
) -> Operation:
    """Open a repair of the findings of these kinds that are about this subject or lineage.

    :raises Busy: another operation holds what it would change.
    """
    findings = {"subject": about} if isinstance(about, str) else {"lineage": about}
    with atomic():
        operation, _ = open_operation(
            workflow=workflow, subject=subject, actor=actor, now=now, state=state
        )
        link_findings(operation=operation, kinds=kinds, **findings)
        worker.enqueue(operation)
    return operation


def open_endpoint_repair(
    endpoint: DeployedEndpoint,
    *,
    workflow: Workflow,
    state: State,
    kinds: Collection[Kind],
    actor: Actor,
    now: datetime,
) -> Operation:
    """Open a repair of the findings of these kinds that are about the service of an endpoint.

    :raises Busy: another operation holds the lineage or the service.
    """
    return open_repair(
        workflow=workflow,
        subject=subject_of_endpoint(endpoint),
        state=state,
        kinds=kinds,
        about=service_subject(endpoint.service_name),
        actor=actor,
        now=now,
    )


# ---- reading -----------------------------------------------------------------------------------


def read(call: Callable[[], T], *, service: str, sent: bool = False) -> Present[T] | Absent:
    """Read from Google. An inconclusive answer is raised: it does not mean absent (law 3).

    `sent` is whether a change may have been sent. Then the operation must continue until it knows
    the outcome, so the error is temporary; before that it ends without a change.

    :raises PlatformError: the answer is inconclusive.
    """
    answer = ask(call)
    if isinstance(answer, Unknown):
        raise _unread(answer.reason, answer.code, service, sent)
    if isinstance(answer, Absent) and not sent and (why := why_unbelieved(_PLANE_OF[service])):
        raise _unread(why, PlaneShrunk.code, service, sent)
    return answer


_PLANE_OF = {title: plane for plane, (title, _) in PLANES.items()}


def read_present(call: Callable[[], T], *, service: str, sent: bool = False) -> T:
    """Read a resource that must exist; its absence is inconclusive too.

    :raises PlatformError: it could not be read.
    """
    answer = read(call, service=service, sent=sent)
    if isinstance(answer, Absent):
        raise _unread(answer.reason, CloudUnavailable.code, service, sent)
    return answer.value


def _unread(reason: str, code: str, service: str, sent: bool) -> PlatformError:  # noqa: FBT001
    if sent:
        return CloudUnavailable(reason, code=code)
    if code == PlaneShrunk.code:
        return PlatformError(reason, code=code, advice=PlaneShrunk.advice)
    return PlatformError(
        reason,
        code="cloud_unavailable",
        advice=f"Nothing was changed. Repair again when {service} answers.",
    )


# ---- deletions in Vertex AI ----------------------------------------------------------------------


def require_undeployed(name: ModelName, versions: Collection[RemoteModel]) -> None:
    """Check that no endpoint of Vertex AI serves one of these versions.

    :raises Conflict: one does.
    """
    if any(version.endpoints for version in versions):
        raise Conflict(
            f"A Vertex AI endpoint serves a version of {name} that would be deleted.",
            code="model_deployed",
            advice="Undeploy it there first.",
        )


def start_deletion(work: Work[R], target: ModelName) -> RemoteOperation | None:
    """Start to delete a model or a version; returns None if it is already gone."""
    require_hope(work, tried=f"The deletion of {target}", left=f"{target} is there.")
    marker.require_ours(clock=work.clock)
    delete = vertex.delete_model_version if target.version else vertex.delete_model
    try:
        started = delete(target)
    except CloudAbsent:
        return None
    work.remote_operation = str(started.name)
    if started.error:
        note_end(work, started.error)
        raise started.error
    return started


def wait_for_deletion(work: Work[R], *, to: str, note: str) -> Outcome:
    """Read once whether the deletion has ended; then continue at `to`, where its effect is read."""
    name = OperationName.parse(work.remote_operation)
    answer = read(lambda: vertex.get_operation(name), service="Vertex AI", sent=True)
    if isinstance(answer, Absent):
        return Next(to=to, note="Vertex AI no longer has the operation; the model is read next.")
    if not answer.value.done:
        return Poll(note="Vertex AI is still deleting it.")
    note_end(work, error := answer.value.error)
    if isinstance(error, CloudUnavailable):  # to read it again would not change it
        return Next(to=to, note=str(error))
    if error:
        raise error
    return Next(to=to, note=note)


# ---- the end -----------------------------------------------------------------------------------


def nothing_to_repair(work: Work[R], note: str) -> Next:
    """End a repair that found no problem."""
    work.state = replace(work.state, ended_as=FindingStatus.GONE)
    return Next(to="close", note=note)


def close(
    work: Work[S],
    *,
    status: FindingStatus,
    note: str = "",
    kinds: Collection[Kind] = KINDS,
) -> Next:
    """Close the findings of a repair, those of these kinds; the note says which stay open.

    It reads them first: a finding that has ended stays ended, so the note is true when it is
    written.
    """
    there = list(findings_of(work.operation).order_by("pk"))
    stay = [finding.title for finding in there if finding.kind not in kinds]
    ended = [] if note else [_ended(status, len(there) - len(stay))]
    left = [f"Still open: {title}. A sweep that does not see it closes it." for title in stay]
    change = partial(
        end_findings, operation=work.operation, status=status, now=work.clock(), kinds=kinds
    )
    return Next(note=" ".join(filter(None, [note, *ended, *left])), change=change)


def _ended(status: FindingStatus, number: int) -> str:
    if not number:
        return ""
    which = "The finding is" if number == 1 else f"{number} findings are"
    if status == FindingStatus.REPAIRED:
        return f"{which} repaired."
    return f"There was nothing left to repair. {which} closed."


def _close(work: Work[RepairState]) -> Outcome:
    """Close repaired findings. If there was no problem, close only what a new check settles."""
    status = FindingStatus(work.state.ended_as)
    repaired = status == FindingStatus.REPAIRED
    kinds = [
        kind
        for kind in KINDS
        if repaired or any(repair.settled_by_recheck for repair in kind.facts.repairs)
    ]
    left = standing().filter(operation=work.operation).exclude(kind__in=kinds)
    return close(work, status=status, kinds=kinds, note=STAYS_OPEN if left.exists() else "")


CLOSE = Step(name="close", title="End the finding", run=_close)
