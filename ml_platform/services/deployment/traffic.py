"""The traffic of a service while its next revision starts (laws 12 and 13).

Cloud Run sends requests to a revision as soon as it is ready. So the update that makes it asks for
the share of the latest revision by the name of the revision that has it; when the new one is ready
and its files were compared, the traffic that was asked for before is asked for again. A service
that does not exist yet cannot be made without traffic: gcloud refuses --no-traffic for it
(https://cloud.google.com/sdk/gcloud/reference/run/deploy#--no-traffic).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ml_platform.cloud import cloud_run
from ml_platform.cloud.run_messages import next_targets
from ml_platform.cloud.types import RemoteService, TrafficTarget
from ml_platform.errors import CloudAbsent
from ml_platform.models import DeployedEndpoint, Operation
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome
from ml_platform.services.ownership.labels import OPERATION, is_uid
from ml_platform.services.serving.others_changes import require_traffic
from ml_platform.services.serving.polling import after_start

from .state import DeployState

Targets = tuple[TrafficTarget, ...]


def plan_traffic(
    work: Work[DeployState], service: RemoteService, endpoint: DeployedEndpoint
) -> int:
    """Note where the traffic goes in the end, and which revision has it until then; returns the
    share of the new revision in percent.

    What an earlier try of ours withheld is not what a person asked for.

    :raises TrafficElsewhere: a new revision would get none; a return to the version before may.
    """
    if kept := _withheld_before(service):
        work.state = replace(work.state, traffic=kept[0], held_by=kept[1])
    else:
        if not work.state.going_back:
            require_traffic(service)
        traffic = tuple((t.revision, t.percent, t.tag) for t in next_targets(service))
        back = work.state.going_back and endpoint.revision in service.serving
        held_by = endpoint.revision if back else service.latest_ready_revision
        work.state = replace(work.state, traffic=traffic, held_by=held_by)
    return sum(target.percent for target in asked_traffic(work) if not target.revision)


def asked_traffic(work: Work[DeployState]) -> Targets:
    """Where the traffic goes in the end."""
    return _targets(work.state.traffic)


def withheld_traffic(work: Work[DeployState]) -> Targets:
    """Where it goes until the new revision was compared."""
    return _withhold(asked_traffic(work), work.state.held_by)


def is_withheld(work: Work[DeployState], service: RemoteService) -> bool:
    """Whether the new revision gets no traffic because we withhold it."""
    asked, held = asked_traffic(work), withheld_traffic(work)
    return bool(work.state.held_by) and service.targets == held != asked


def give_traffic(work: Work[DeployState]) -> Outcome:
    """Send the traffic where it was to go, unless somebody has changed it meanwhile."""
    try:
        service = cloud_run.get_service(work.state.service)
        if not is_withheld(work, service):
            return Next(to="confirm", note="The traffic was changed meanwhile.")
        started = cloud_run.route_service(service, asked_traffic(work))
    except CloudAbsent as gone:
        return Next(to="confirm", note=str(gone))
    return after_start(work, started, to="confirm")


def end_withheld(work: Work[DeployState], service: RemoteService) -> None:
    """Note, at the end of a failed deploy, whether the next one finds traffic that we withheld."""
    if not is_withheld(work, service):
        work.state = replace(work.state, held_by="")


def _withheld_before(service: RemoteService) -> tuple[tuple[tuple[str, int, str], ...], str] | None:
    """What the operation that the service's labels name has withheld and not given yet."""
    by = service.labels.get(OPERATION, "")
    if not is_uid(by):
        return None
    known = Operation.objects.filter(pk=by, service_key=service.service_id)
    data = known.values_list("data", flat=True).first() or {}
    traffic = tuple((r, p, t) for r, p, t in data.get("traffic", ()))
    held_by = data.get("held_by", "")
    asked, held = _targets(traffic), _withhold(_targets(traffic), held_by)
    return (traffic, held_by) if held_by and service.targets == held != asked else None


def _targets(traffic: Iterable[tuple[str, int, str]]) -> Targets:
    return tuple(TrafficTarget(revision=r, percent=p, tag=t) for r, p, t in traffic)


def _withhold(targets: Targets, held_by: str) -> Targets:
    return tuple(replace(each, revision=each.revision or held_by) for each in targets)
