"""Which artifacts are old and belong to no version, by our rows; `removal.guard` asks the rest."""

from __future__ import annotations

from datetime import datetime

from django.db.models import CharField, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Cast

from ml_platform.models import AwaitingRemoval, DeployedEndpoint, EndpointTraffic, TrainingRun
from ml_platform.models.states import LIVE_RUN_STATUSES, Registration
from ml_platform.services.removal.guard import busy_operations

from .state import ArtifactState


def candidates(state: ArtifactState) -> QuerySet[TrainingRun]:
    """Return old runs that are not a version and that no endpoint or operation needs.

    What awaits its removal is left to it.
    """
    old = datetime.fromisoformat(state.ended_before)
    states = [Registration.NONE, Registration.DELETED]
    if state.include_registered:
        states.append(Registration.LOST)
    this = OuterRef("pk")
    served = DeployedEndpoint.objects.protecting().filter(
        Q(run=this) | Q(intended_run=this) | Q(previous_run=this)
    )
    reached = EndpointTraffic.objects.filter(run=this)
    busy = busy_operations(Cast(this, CharField()))
    waiting = AwaitingRemoval.objects.filter(run=this)
    ended = TrainingRun.objects.exclude(status__in=LIVE_RUN_STATUSES)
    return (
        ended.exclude(gcs_artifacts_path="")
        .filter(registration__in=states, created_at__lt=old)
        .filter(Q(finished_at__isnull=True) | Q(finished_at__lt=old))
        .exclude(Exists(served) | Exists(reached) | Exists(busy) | Exists(waiting))
    )
