"""Roll out a version on Cloud Run, and undo a rollout that fails.

A service that served before gets its previous version back; one made for this deploy is deleted.
"""

from __future__ import annotations

from dataclasses import replace

from ml_platform.cloud import cloud_run
from ml_platform.cloud.answers import Present, Unknown, ask
from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.types import RemoteService
from ml_platform.errors import (
    CloudAbsent,
    CloudConflict,
    CloudExists,
    Conflict,
    OutcomeUnknown,
    PlatformError,
)
from ml_platform.models import DeployedEndpoint, TrainingRun
from ml_platform.services.artifacts.manifest import digest_of
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll
from ml_platform.services.ownership.labels import OPERATION, RUN, labels_for
from ml_platform.services.registry.verification import seconds_until_consistent
from ml_platform.services.serving.config import (
    ServingConfig,
    compare_revision,
    compare_service,
    service_spec,
    share_of,
)
from ml_platform.services.serving.others_changes import (
    ATTEMPT,
    BACK,
    changed_by_others,
    last_written,
)
from ml_platform.services.serving.polling import (
    LONGEST,
    REFUSALS,
    ForeignService,
    about_to_send,
    after_start,
    endpoint_of,
    is_late,
    not_done,
    require_not_refused,
    require_ours,
    tolerate_denied_after_send,
    was_made_here,
    with_traffic,
)

from .same_files import replaced_while_starting, reread_files
from .state import DeployFailed, DeployState, asked_run
from .traffic import end_withheld, is_withheld, plan_traffic, withheld_traffic


def look(work: Work[DeployState]) -> Outcome:
    """Read the service of that name: absent, ours, made by an earlier attempt, or foreign."""
    endpoint = endpoint_of(work)
    try:
        with tolerate_denied_after_send(work.state.sent):
            service = cloud_run.get_service(endpoint.service_name)
    except CloudAbsent as absent:
        require_not_refused(work)
        if not seconds_until_consistent(endpoint.deployed_at, now=work.clock()):
            work.state = replace(work.state, gone=True)
        work.state = replace(work.state, etag="", created=True, traffic=(), held_by="")
        return _about_to_send(work, str(absent))
    _keep_off_foreign(work, service, endpoint)
    work.state = replace(work.state, gone=False)
    return with_traffic(work, _prepare(work, service, endpoint), service, endpoint)


def _prepare(work: Work[DeployState], service: RemoteService, endpoint: DeployedEndpoint) -> Next:
    if _is_made(work, service):
        return Next(to="confirm", note="An earlier attempt deployed it.")
    require_not_refused(work)
    if service.labels.get(OPERATION) != work.operation.pk.hex:
        work.state = replace(work.state, created=False)
    label = service.labels.get(RUN)
    served = endpoint.is_active and endpoint.run and endpoint.run.uid.hex == label
    if served and work.state.before is None:
        work.state = replace(work.state, before=service.env.get(ARTIFACT_ENV, ""))
    share = plan_traffic(work, service, endpoint)
    work.state = replace(work.state, etag=service.etag)
    told = _tell_changes(work, service, endpoint, share)
    return _about_to_send(work, f"{endpoint.service_name} exists and is ours.{told}")


def _tell_changes(
    work: Work[DeployState], service: RemoteService, endpoint: DeployedEndpoint, share: int
) -> str:
    """Note what others changed of ours, before it is overwritten (law 13)."""
    last = last_written(service, endpoint)
    uri = work.state.artifact_uri if last.run_id == work.state.run else ""
    found = changed_by_others(service, last, endpoint, artifact_uri=uri)
    told = tuple(dict.fromkeys((*work.state.overwritten, *found)))
    work.state = replace(work.state, last=last.config.to_dict(), overwritten=told)
    lost = f" Others changed it, which is overwritten: {'; '.join(found)}." if found else ""
    rest = (
        f" The new revision gets {share} % of the traffic; the rest stays." if share < 100 else ""
    )
    return lost + rest


def _about_to_send(work: Work[DeployState], note: str) -> Next:
    about_to_send(work)
    return Next(note=note)


def _keep_off_foreign(
    work: Work[DeployState], service: RemoteService, endpoint: DeployedEndpoint
) -> None:
    try:
        require_ours(service, endpoint)
    except ForeignService:
        with tolerate_denied_after_send(work.state.sent):
            ours = was_made_here(service, endpoint)
        # If it is not ours, our service of this name no longer exists.
        work.state = replace(work.state, sent=False, gone=work.state.gone or not ours)
        raise


def upsert(work: Work[DeployState]) -> Outcome:
    """Change the service in place, or create it; never delete and create it again."""
    name, etag = work.state.service, work.state.etag
    run, config, uri = _target(work)
    spec = service_spec(config, artifact_uri=uri, labels=_labels(work, run))
    try:
        if not work.state.going_back:
            reread_files(run, uri)
        if etag:
            service = cloud_run.get_service(name)
            if service.etag != etag:
                raise CloudConflict(f"{name} has changed since it was read.")
            last = ServingConfig.from_dict(work.state.last)
            before = service_spec(last, artifact_uri="", labels={})
            traffic = withheld_traffic(work)
            started = cloud_run.update_service(service, spec, before=before, traffic=traffic)
        else:
            started = cloud_run.create_service(name, spec)
    except OutcomeUnknown:
        raise
    except (CloudExists, CloudAbsent) as error:
        raise not_done(work, CloudConflict(str(error), advice=error.advice)) from error
    except PlatformError as error:
        raise not_done(work, error) from error
    return after_start(work, started, to="confirm")


def confirm(work: Work[DeployState]) -> Outcome:
    """Success is the serving revision, not the newest one and not the operation's end."""
    endpoint = endpoint_of(work)
    try:
        with tolerate_denied_after_send(work.state.sent):
            service = cloud_run.get_service(endpoint.service_name)
    except CloudAbsent as absent:
        if not work.state.removing:
            _require_in_time(work, str(absent))
            return Next(to="look", note=str(absent))
        work.state = replace(work.state, gone=True, sent=False)
        return Next(to="give_up", note=str(absent))
    _keep_off_foreign(work, service, endpoint)
    if not _is_made(work, service):
        _require_in_time(work, f"{service.service_id} does not have the requested configuration.")
        return Next(to="look", note="The service was changed meanwhile.")
    judged = compare_revision(service)
    if judged.serves is None and not is_late(work):
        return Poll(note=judged.reason)
    if judged.serves:
        outcome = _ready(work, service, endpoint, judged.reason)
    else:
        late = f"Cloud Run was at it for {LONGEST}: " if judged.serves is None else ""
        outcome = _take_back(work, service, endpoint, late + judged.reason)
    return with_traffic(work, outcome, service, endpoint)


def _ready(
    work: Work[DeployState], service: RemoteService, endpoint: DeployedEndpoint, note: str
) -> Outcome:
    """Give the new revision its traffic, once its files were compared, and see that it has it."""
    back = work.state.going_back
    if not (back or work.state.compared):
        answer = ask(lambda: replaced_while_starting(asked_run(work), work.state.artifact_uri))
        if isinstance(answer, Unknown) and not is_late(work):
            return Poll(note=f"Its files could not be compared: {answer.reason}")
        if why := answer.value if isinstance(answer, Present) else answer.reason:
            reason = f"Its files are not, or not known to be, those of its manifest: {why}"
            return _take_back(work, service, endpoint, f"{reason.rstrip('.')}.")
        work.state = replace(work.state, compared=True)
    if is_withheld(work, service):
        if work.state.refusals >= REFUSALS:
            return _take_back(work, service, endpoint, work.state.refusal)
        return Next(to="give_traffic", note=note)
    judged = compare_service(service, percent=service.percent_of_newest)
    if not judged.serves:
        return _take_back(work, service, endpoint, judged.reason)
    work.state = replace(
        work.state,
        url=service.uri,
        revision=service.latest_ready_revision,
        sent=work.state.sent and not back,
        held_by="",
    )
    return Next(to="give_up" if back else "record", note=judged.reason)


def _require_in_time(work: Work[DeployState], reason: str) -> None:
    """Fail a rollout that is late; it may still succeed, so both versions stay protected.

    :raises DeployFailed: it is late.
    """
    if is_late(work):
        raise DeployFailed(f"{reason} Cloud Run was at it for {LONGEST}.")


def _take_back(
    work: Work[DeployState], service: RemoteService, endpoint: DeployedEndpoint, reason: str
) -> Next:
    """Undo a failed rollout: restore the previous version, or delete the service that we made.

    Another service stays: the new revision gets none of its traffic, or is not ready.
    """
    work.state = replace(work.state, failure=work.state.failure or reason)
    if _gives_back(work, service):
        return Next(to="give_traffic", note=f"{reason} The traffic goes where it went.")
    if work.state.going_back:
        end_withheld(work, service)
        if share_of(service, endpoint.revision) == (service.percent_of_newest or 100):
            work.state = replace(work.state, sent=False)
        return Next(to="give_up", note=reason)
    work.state = replace(work.state, refusals=0)
    if work.state.before:
        work.state = replace(work.state, going_back=True)
        return Next(to="look", note=f"{reason} The previous version is restored.")
    if not work.state.created:
        unsure = not is_withheld(work, service) and share_of(
            service, service.latest_created_revision
        )
        work.state = replace(work.state, sent=work.state.sent and bool(unsure))
        end_withheld(work, service)
        return Next(to="give_up", note=reason)
    if work.state.removing and is_late(work):
        return Next(to="give_up", note=reason)
    since = work.clock().isoformat()
    work.state = replace(work.state, removing=True, etag=service.etag, since=since)
    return Next(to="remove", note=reason)


def _gives_back(work: Work[DeployState], service: RemoteService) -> bool:
    """Whether the withheld traffic may be asked for as before: the latest revision that is ready is
    the one that has it, and no other is to come."""
    if not is_withheld(work, service) or work.state.refusals >= REFUSALS:
        return False
    ends = work.state.going_back or not (work.state.before or work.state.created)
    return ends and service.latest_ready_revision == work.state.held_by


def remove(work: Work[DeployState]) -> Outcome:
    """Remove a service that never served."""
    if work.state.refusals >= REFUSALS:
        return Next(to="give_up", note=work.state.refusal)
    try:
        started = cloud_run.delete_service(work.state.service, etag=work.state.etag)
    except CloudAbsent as gone:
        return Next(to="confirm", note=str(gone))
    return after_start(work, started, to="confirm")


def give_up(work: Work[DeployState]) -> Outcome:
    raise DeployFailed(work.state.failure)


# ---- reads -------------------------------------------------------------------------------------


def _target(work: Work[DeployState]) -> tuple[TrainingRun, ServingConfig, str]:
    """The version that the service is to serve now: the requested one or the previous one."""
    if not work.state.going_back:
        config = ServingConfig.from_dict(work.state.config)
        return asked_run(work), config, work.state.artifact_uri
    endpoint = endpoint_of(work)
    if endpoint.run is None:
        raise Conflict(
            f"{endpoint.service_name} served nothing before.",
            advice="Deploy a version by its number.",
        )
    return endpoint.run, ServingConfig.from_dict(endpoint.config), work.state.before or ""


def _labels(work: Work[DeployState], run: TrainingRun) -> dict[str, str]:
    endpoint = endpoint_of(work)
    lineage = endpoint.registered_model
    labels = labels_for(
        lineage=lineage.uid,
        generation=lineage.generation,
        run=run.uid,
        endpoint=endpoint.uid,
        operation=work.operation.pk,
        digest=digest_of(run),
    )
    return {**labels, ATTEMPT: _attempt(work)}


def _attempt(work: Work[DeployState]) -> str:
    back = BACK if work.state.going_back else ""
    return f"{work.state.tries}{back}"


def _is_made(work: Work[DeployState], service: RemoteService) -> bool:
    """Whether the service has what this attempt of the operation requested."""
    wanted = {OPERATION: work.operation.pk.hex, ATTEMPT: _attempt(work)}
    return wanted.items() <= service.labels.items()
