"""What our tables say of versions that go, changed only inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Q

from ml_platform.cloud.names import ModelName
from ml_platform.models import DeployedEndpoint, TrainingRun
from ml_platform.models.locking import update_rows
from ml_platform.models.states import EventKind, Registration
from ml_platform.services.deployment.service_polling import SENT
from ml_platform.services.operations.work import Work
from ml_platform.services.registry.lineages import end_version, lock_version, record_version
from ml_platform.services.registry.mirror import unmirror_model

from .plan import endpoint_facts, protects, served_by


def mark_deleting(run_ids: Sequence[int]) -> None:
    """Mark before anything is destroyed; refuse while an endpoint protects one (R5).

    :raises DeployedModel: with the endpoint's name.
    """
    for endpoint in DeployedEndpoint.objects.filter(
        Q(run__in=run_ids) | Q(intended_run__in=run_ids)
    ):
        facts = endpoint_facts(endpoint)
        if protects(facts):
            raise served_by(facts)
    versions = TrainingRun.objects.filter(pk__in=run_ids, registration=Registration.REGISTERED)
    update_rows(versions, registration=Registration.DELETING)


def unmark_deleting(work: Work) -> None:
    """What this operation marked and what is left of it is a version again, unless its deletion
    was sent and may yet happen."""
    if not work.data.get("marked"):
        return
    marked = TrainingRun.objects.filter(
        pk__in=work.data["runs"], registration=Registration.DELETING
    )
    kept = [run.pk for run in marked if not is_sent(work, pointer_of(run))]
    update_rows(marked.filter(pk__in=kept), registration=Registration.REGISTERED)


def sent_before(run_ids: Sequence[int]) -> list[str]:
    """Versions that an earlier operation left marked, because their deletion may yet happen."""
    marked = TrainingRun.objects.filter(pk__in=run_ids, registration=Registration.DELETING)
    return [str(pointer_of(run)) for run in marked]


def record_version_deleted(work: Work, run_id: int) -> None:
    """The version is gone from Vertex AI: clear it, mark its endpoints, recount the lineage."""
    run = lock_version(run_id)
    if work.data.get("target") == str(pointer_of(run).bare):
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


def pointer_of(run: TrainingRun) -> ModelName:
    """name@version of a version; of a lost one, what it pointed at."""
    if run.registration == Registration.LOST:
        return ModelName.parse(run.last_vertex_version)
    return ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)


def is_sent(work: Work, pointer: ModelName) -> bool:
    """Whether the deletion of this version, or of its whole model, may be on its way."""
    return not {str(pointer), str(pointer.bare)}.isdisjoint(work.data.get(SENT, ()))
