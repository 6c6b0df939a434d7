"""Steps that the deploy and the undeploy of a Cloud Run service share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from ml_platform.cloud import cloud_run
from ml_platform.cloud.names import OperationName
from ml_platform.cloud.types import RemoteOperation, RemoteService
from ml_platform.errors import (
    CloudAbsent,
    CloudDenied,
    CloudRejected,
    CloudUnavailable,
    Conflict,
    NotFound,
    PlatformError,
)
from ml_platform.models import DeployedEndpoint
from ml_platform.models.clock import past
from ml_platform.services.operations.state import State
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll, WaitEnded
from ml_platform.services.ownership.labels import ENDPOINT, labels_for, wrong_label
from ml_platform.services.registry.verification import seconds_until_consistent

from .revisions import keep_traffic, read_traffic

REFUSALS = 3
"""How often a long-running operation may end in an error before the whole one fails."""
LONGEST = timedelta(minutes=30)
"""How long Cloud Run may take to deploy or delete a service. Then we read the service, and fail
if the change is not done."""


class ForeignService(Conflict):
    """The service belongs to another owner; it was not changed."""

    code = "foreign_service"
    advice = (
        "Choose another service name; if it is ours, relabel it: repair the finding about its "
        "labels."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState(State):
    """The state that every change of a Cloud Run service stores."""

    service: str = ""
    etag: str = ""
    sent: bool = False
    """True from before an effect until its outcome is known. Meanwhile the service may be in either
    state, and our rows protect both versions."""
    since: str = ""
    """When the last change was sent to Cloud Run."""
    earlier: str = ""
    """When a change was sent before that one, of which no reading has shown the outcome."""
    ended: bool = False
    """A long-running operation ended well; the service itself was not read since."""
    late: bool = False
    """Cloud Run did not end its operation within LONGEST."""
    refusals: int = 0
    """How many long-running operations ended in an error."""
    refusal: str = ""
    """The message of the last of them."""


S = TypeVar("S", bound=ServiceState)


def endpoint_of(work: Work[S]) -> DeployedEndpoint:
    """The endpoint an operation is about.

    :raises NotFound: its row was deleted since.
    """
    found = DeployedEndpoint.objects.filter(service_name=work.state.service).first()
    if found is None:
        raise NotFound(
            f"The endpoint {work.state.service} was deleted.", advice="Deploy the model again."
        )
    return found


def require_ours(service: RemoteService, endpoint: DeployedEndpoint) -> None:
    """Check by its labels that the service is that endpoint's.

    :raises ForeignService: it is not.
    """
    if wrong := wrong_label(service.labels, labels_for(endpoint=endpoint.uid)):
        raise ForeignService(
            f"The service {service.service_id} on Cloud Run is not this endpoint's: {wrong}."
        )


def was_made_here(service: RemoteService, endpoint: DeployedEndpoint) -> bool:
    """Whether we made a service that lacks our labels: a revision keeps the labels that it was made
    with, and is deleted only with its service."""
    revisions = {endpoint.revision, service.latest_created_revision, *service.serving} - {""}
    for revision in sorted(revisions):
        with suppress(CloudAbsent):
            labels = cloud_run.get_revision(service.service_id, revision).labels
            if labels.get(ENDPOINT) == endpoint.uid.hex:
                return True
    return False


def with_traffic(
    work: Work[Any], outcome: Outcome, service: RemoteService, endpoint: DeployedEndpoint
) -> Outcome:
    """The same outcome; what the service serves now is recorded with it."""
    if not isinstance(outcome, Next):
        return outcome
    now, change = work.clock(), outcome.change
    rows = read_traffic({endpoint.pk: service})

    def keep() -> None:
        if change is not None:
            change()
        keep_traffic(rows, endpoints=[endpoint.pk], now=now, began=now)

    return replace(outcome, change=keep)


@contextmanager
def tolerate_denied_after_send(sent: bool) -> Iterator[None]:  # noqa: FBT001 - the only one
    """Once an effect was `sent`, a lost permission to read makes the operation wait, not fail."""
    try:
        yield
    except CloudDenied as error:
        if not sent:
            raise
        raise CloudUnavailable(str(error), code=error.code, advice=error.advice) from error


def after_start(work: Work[S], started: RemoteOperation, *, to: str) -> Next:
    """Wait for an operation just started, or continue at `to`, which reads its effect."""
    since = work.clock().isoformat()
    work.state = replace(work.state, ended=False, late=False, since=since)
    work.remote_operation = str(started.name)
    if not started.done:
        return Next(note=str(started.name))
    return _ended(work, started, to=to)


def is_late(work: Work[S]) -> bool:
    """Whether LONGEST has passed since the last change was sent to Cloud Run."""
    now = work.clock()
    since = past(work.state.since or now.isoformat(), now=now)
    work.state = replace(work.state, since=since.isoformat())
    return now - since > LONGEST


def wait_for(work: Work[S], *, to: str) -> Outcome:
    """Read the operation's state once; when it ended, continue at `to`, which reads its effect."""
    try:
        with tolerate_denied_after_send(work.state.sent):
            state = cloud_run.get_operation(OperationName.parse(work.remote_operation))
    except CloudAbsent as forgotten:
        return Next(to=to, note=str(forgotten))
    if not state.done and is_late(work):
        work.state = replace(work.state, late=True)
        return Next(to=to, note=f"Cloud Run has not ended its operation after {LONGEST}.")
    if not state.done:
        return Poll(note="Cloud Run is still working on it.")
    return _ended(work, state, to=to)


def _ended(work: Work[S], ended: RemoteOperation, *, to: str) -> Next:
    if ended.error is None:
        work.state = replace(work.state, ended=True)
        return Next(to=to, note="Cloud Run has ended its operation.")
    refusals = work.state.refusals + 1
    work.state = replace(work.state, refusals=refusals, refusal=str(ended.error))
    return Next(to=to, note=str(ended.error))


def require_not_refused(work: Work[S]) -> None:
    """Fail after Cloud Run has refused the change several times; it was not made.

    :raises CloudRejected: with its last message.
    """
    if work.state.refusals >= REFUSALS:
        work.state = replace(work.state, sent=False)
        raise CloudRejected(work.state.refusal, code="refused_by_cloud_run")


def require_not_late(work: Work[S]) -> None:
    """Stop a deletion that Cloud Run has not ended in time, when the service is still there.

    :raises WaitEnded: with the name of Cloud Run's operation, which may still end.
    """
    if work.state.late:
        raise WaitEnded(
            f"Cloud Run has not deleted {work.state.service} after {LONGEST}. "
            f"Left at Google: {work.remote_operation}."
        )


def about_to_send(work: Work[S], **changes: Any) -> None:
    """Note, with other changes of the state, that an effect follows."""
    earlier = work.state.since if work.state.sent else work.state.earlier
    since = work.clock().isoformat()
    work.state = replace(work.state, sent=True, since=since, earlier=earlier, **changes)


def not_done(work: Work[S], error: PlatformError) -> PlatformError:
    """Note that the effect was refused before any change, and return the error.

    An earlier one may have had an effect that no reading shows yet: then that stays unknown.
    """
    now, earlier = work.clock(), work.state.earlier
    hidden = bool(earlier) and seconds_until_consistent(past(earlier, now=now), now=now) > 0
    work.state = replace(work.state, sent=hidden)
    return error
