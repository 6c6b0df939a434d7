"""Write our uid into the labels of versions that a release before there were uids labeled."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Answer, Present, Unknown, ask
from ml_platform.cloud.names import ModelName
from ml_platform.errors import CloudConflict, Invalid
from ml_platform.models import MirroredModel, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.states import OperationKind
from ml_platform.services.installation import marker
from ml_platform.services.installation.identity import identity
from ml_platform.services.operations import worker
from ml_platform.services.operations.state import State
from ml_platform.services.operations.store import Actor, Busy, Subject, open_operation
from ml_platform.services.operations.work import Clock, Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Poll, Step, Workflow
from ml_platform.text import counted

from .labels import INSTALLATION, is_uid, is_version_of

PER_MINUTE = 30
"""Versions a minute, each a read and a write: a tenth of the 600 requests that Vertex AI allows
(https://cloud.google.com/vertex-ai/docs/quotas), so that users' requests are not refused."""
LABELS = "labels"
"""Subject type and lock of the operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelabelState(State):
    """How far it is: the last run, and how many versions got our uid or could not get it."""

    after: int = 0
    done: int = 0
    left: int = 0
    in_minute: int = 0


def is_needed() -> bool:
    """Whether the mirror shows a model with one of our versions whose labels have no uid."""
    us = identity()
    rows = MirroredModel.objects.filter(owner=us.name, theirs=False)
    rows = rows.exclude(labels__has_key=INSTALLATION)
    uids = [uid for uid in rows.values_list("run_uid", flat=True) if is_uid(uid)]
    return TrainingRun.objects.versions().filter(uid__in=uids).exists()


def relabel_versions(*, actor: Actor, clock: Clock) -> None:
    """Have a worker write our uid on all our versions, if some lack it and nothing does it yet."""
    if not is_needed():
        return
    with suppress(Busy), atomic():
        operation, _ = open_operation(
            workflow=WORKFLOW,
            subject=Subject(type=LABELS, id="", name="our versions", service_key=LABELS),
            actor=actor,
            now=clock(),
        )
        worker.enqueue(operation)


def _relabel(work: Work[RelabelState]) -> Outcome:
    """Relabel the next version, if it is ours; a version that cannot be is left as it is.

    A copy of the database from before there were uids would take the versions for its own, so the
    marker is read first.
    """
    state = work.state
    if state.in_minute >= PER_MINUTE:
        work.state = replace(state, in_minute=0)
        return Poll(seconds=60, note=f"{counted(state.done, 'version')} so far.")
    if state.in_minute == 0:
        marker.require_ours(clock=work.clock)
    run = TrainingRun.objects.versions().filter(pk__gt=state.after).order_by("pk").first()
    if run is None:
        left = f"; {counted(state.left, 'version')} left as they are" if state.left else ""
        return Next(note=f"{counted(state.done, 'version')} got our uid{left}.")
    work.state = state = replace(state, after=run.pk, in_minute=state.in_minute + 1)
    answer = _asked(run)
    if not isinstance(answer, Present):
        work.state = replace(state, left=state.left + 1)
        return Continue(note=f"{run}: {answer.reason}")
    work.state = replace(state, done=state.done + answer.value)
    return Continue(note=str(run))


def _asked(run: TrainingRun) -> Answer[int]:
    try:
        return ask(lambda: _write_uid(run))
    except CloudConflict as error:  # somebody changes it now; a later sweep has it relabeled
        return Unknown(str(error), error.code)


def _write_uid(run: TrainingRun) -> int:
    """Add our uid to the labels of a version; returns how many versions were changed."""
    try:
        name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    except Invalid:
        return 0
    model = vertex.get_model(name)
    if INSTALLATION in model.labels or not is_version_of(model, run):
        return 0
    labels = {**model.labels, INSTALLATION: identity().uid}
    vertex.update_model_labels(name, labels, etag=model.etag)
    return 1


WORKFLOW = Workflow(
    slug="label-installation",
    kind=OperationKind.REPAIR,
    title="Write our uid on {}",
    past="wrote our uid on {}",
    state=RelabelState,
    steps=(
        Step(
            name="relabel",
            title="Label the versions in Vertex AI",
            run=_relabel,
            probe="relabel",
            cancellable=True,
            patience=timedelta(hours=24),
        ),
    ),
)
