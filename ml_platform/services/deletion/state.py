"""The row changes of a deletion; each expects the transaction of its caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from django.db.models import Q

from ml_platform.cloud.names import ModelName
from ml_platform.models import DeployedEndpoint, EndpointTraffic, TrainingRun
from ml_platform.models.locking import update_rows
from ml_platform.models.registry.training_run import TrainingRunQuerySet
from ml_platform.models.states import EventKind, Registration
from ml_platform.services.artifacts.folders import deletable_prefix
from ml_platform.services.mirror.changes import unmirror_model
from ml_platform.services.operations import worker
from ml_platform.services.operations.work import Work
from ml_platform.services.registry.aliases import move_default
from ml_platform.services.registry.lineages import end_version, lock_version, record_version
from ml_platform.services.removal import waiting
from ml_platform.services.removal.steps import RemovalState

from .plan import protects, served_by, served_by_revision


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionState(RemovalState):
    """The state that the steps of a deletion share."""

    runs: tuple[int, ...] = ()
    marked: bool = False
    """Our rows say `deleting`, so a failure has to undo that."""
    sent: tuple[str, ...] = ()
    """Versions and models whose deletion was sent and may happen at any time."""
    target: str = ""
    """What is deleted next: a version, or the whole model."""
    again: bool = False
    """Its deletion may have been sent before."""
    only_theirs_stay: bool = False
    """It is the default version, and none of our other versions stays."""
    default_to: str = ""
    """The version that gets the alias `default` first."""
    ended_in_vertex: bool = False
    """Nothing of it is left in Vertex AI: its folders await their removal, its model is free."""


def mark_deleting(run_ids: Sequence[int]) -> None:
    """Mark the versions before anything is deleted; refuse while an endpoint protects one.

    :raises DeployedModel: with the endpoint's name.
    """
    for endpoint in DeployedEndpoint.objects.filter(
        Q(run__in=run_ids) | Q(intended_run__in=run_ids)
    ):
        if protects(endpoint):
            raise served_by(endpoint)
    reached = EndpointTraffic.objects.filter(run__in=run_ids).select_related("endpoint", "run")
    for row in reached:
        raise served_by_revision(row)
    versions = TrainingRun.objects.filter(pk__in=run_ids, registration=Registration.REGISTERED)
    update_rows(versions, registration=Registration.DELETING)


def unmark_deleting(work: Work[DeletionState]) -> None:
    """Remove this operation's marks from the versions that are left, unless their deletion was sent
    and may still happen."""
    if not work.state.marked:
        return
    marked = TrainingRun.objects.filter(pk__in=work.state.runs, registration=Registration.DELETING)
    kept = [run.pk for run in marked if not is_sent(work, pointer_of(run))]
    update_rows(marked.filter(pk__in=kept), registration=Registration.REGISTERED)


def sent_before(run_ids: Sequence[int]) -> tuple[str, ...]:
    """Versions that an earlier operation left marked, because their deletion may still happen."""
    marked = TrainingRun.objects.filter(pk__in=run_ids, registration=Registration.DELETING)
    return tuple(str(pointer_of(run)) for run in marked)


def record_version_deleted(work: Work[DeletionState], run_id: int) -> None:
    """Clear a version that is gone from Vertex AI, mark its endpoints, recount the lineage."""
    run = lock_version(run_id)
    if work.state.target == str(pointer_of(run).bare):
        unmirror_model(name=pointer_of(run).bare)
    if run.registration == Registration.LOST:
        TrainingRun.objects.filter(pk=run_id).update(registration=Registration.DELETED)
        record_version(
            EventKind.VERSION_DELETED,
            run=run,
            before=Registration.LOST,
            vertex_version=run.last_vertex_version,
            operation=work.operation,
        )
    else:
        end_version(run=run, registration=Registration.DELETED, operation=work.operation)
    update_rows(DeployedEndpoint.objects.filter(run=run), model_deleted=True)


def end_in_vertex(work: Work[DeletionState], folders: Mapping[int, str]) -> None:
    """Mark the folders, by run, as awaiting their removal, and free the model.

    Its next registration and deploy need not wait for the files.
    """
    waiting.add_folders(folders=folders, operation=work.operation, now=work.clock())
    worker.release_lineage(work)
    work.state = replace(work.state, ended_in_vertex=True, read=False)


def pointer_of(run: TrainingRun) -> ModelName:
    """name@version of a version; of a lost one, what it pointed at."""
    if run.registration == Registration.LOST:
        return ModelName.parse(run.last_vertex_version)
    return ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)


def is_sent(work: Work[DeletionState], pointer: ModelName) -> bool:
    """Whether the deletion of this version, or of its whole model, was sent and may happen."""
    return not {str(pointer), str(pointer.bare)}.isdisjoint(work.state.sent)


def about_to_send(work: Work[DeletionState]) -> None:
    """Record that the deletion may be sent after the commit; `again` if it may have been before."""
    sent, target = work.state.sent, work.state.target
    again = target in sent
    work.state = replace(work.state, again=again, sent=sent if again else (*sent, target))


def not_sent(work: Work[DeletionState], target: str) -> None:
    """Record that the deletion of that version or model was not sent."""
    left = tuple(other for other in work.state.sent if other != target)
    work.state = replace(work.state, sent=left)


def runs_of(work: Work[DeletionState]) -> list[TrainingRun]:
    """The runs whose versions are deleted, the newest first."""
    return list(TrainingRun.objects.filter(pk__in=work.state.runs).order_by("-version"))


def folders_of(work: Work[DeletionState]) -> dict[int, str]:
    """The folders of the versions' artifacts, by run.

    :raises UnsafePath: one is not its run's own.
    """
    prefixes = {run.pk: deletable_prefix(run=run) for run in runs_of(work)}
    return {run: str(prefix) for run, prefix in prefixes.items() if prefix}


def siblings_of(pointer: ModelName) -> TrainingRunQuerySet:
    """All our versions of that model."""
    return TrainingRun.objects.versions().filter(vertex_model_resource_name=str(pointer.bare))


def note_default(name: ModelName) -> None:
    """Record that the version has the alias `default` now, if it is one of our versions."""
    heir = TrainingRun.objects.filter(
        vertex_model_resource_name=str(name.bare), vertex_model_version=name.version
    ).first()
    if heir:
        move_default(run_id=heir.pk)
