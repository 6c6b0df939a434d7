"""Roll out a version on Cloud Run, and undo a rollout that fails.

A service that served before gets its previous version back; one made for this deploy is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ml_platform.cloud import cloud_run
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
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll
from ml_platform.services.registry.labels import OPERATION, RUN, labels_for
from ml_platform.services.registry.manifest import digest_of
from ml_platform.services.registry.verification import seconds_until_consistent

from .deployable import ForeignService
from .others_changes import ATTEMPT, BACK, changed_by_others, last_written, require_traffic
from .same_files import replaced_while_starting, reread_files
from .service_polling import (
    LONGEST,
    REFUSALS,
    ServiceState,
    after_start,
    endpoint_of,
    is_late,
    not_done,
    require_not_refused,
    require_ours,
    tolerate_denied_after_send,
    was_made_here,
)
from .serving import ServingConfig, compare_service, service_spec, share_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployState(ServiceState):
    """What was requested, what was found, and the progress of the rollout."""

    run: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    tries: int = 1
    """Counts the retries; a label of the service distinguishes the attempts."""
    marked: bool = False
    """Our rows say `deploying`, so an end without success has to undo that."""

    artifact_uri: str = ""
    established: bool = False
    """The model or its artifacts are known to be gone, so the pointer to them is cleared."""
    said: str = ""
    nothing_left: bool = False
    cleared: str = ""
    """The message with which the pointer was cleared."""

    last: Mapping[str, Any] = field(default_factory=dict)
    """The configuration that the service was last given by us."""
    overwritten: tuple[str, ...] = ()
    """What others had changed in it, in words."""
    before: str | None = None
    """Artifacts of the version that served before; None until the service was read."""
    going_back: bool = False
    """The new version did not become ready, and the previous one is restored."""
    removing: bool = False
    """The new version did not become ready and none served before, so the service is deleted."""
    failure: str = ""
    gone: bool = False
    """Cloud Run has no such service, so nothing serves."""

    url: str = ""
    revision: str = ""
    recorded: bool = False
    invokers_before: tuple[str, ...] = ()


class DeployFailed(PlatformError):
    """The new revision does not serve; the previous version still does."""

    code = "deploy_failed"
    advice = "Check the revision's logs in Cloud Run, then deploy again."


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
        work.state = replace(work.state, etag="")
        return _about_to_send(work, str(absent))
    _keep_off_foreign(work, service, endpoint)
    work.state = replace(work.state, gone=False)
    if _is_made(work, service):
        return Next(to="confirm", note="An earlier attempt deployed it.")
    require_not_refused(work)
    label = service.labels.get(RUN)
    served = endpoint.is_active and endpoint.run and endpoint.run.uid.hex == label
    if served and work.state.before is None:
        work.state = replace(work.state, before=service.env.get(ARTIFACT_ENV, ""))
    if not work.state.going_back:
        require_traffic(service)
    work.state = replace(work.state, etag=service.etag)
    note = f"{endpoint.service_name} exists and is ours.{_tell_changes(work, service, endpoint)}"
    return _about_to_send(work, note)


def _tell_changes(
    work: Work[DeployState], service: RemoteService, endpoint: DeployedEndpoint
) -> str:
    """Note what others changed of ours, before it is overwritten (law 13)."""
    last = last_written(service, endpoint)
    uri = work.state.artifact_uri if last.run_id == work.state.run else ""
    found = changed_by_others(service, last, endpoint, artifact_uri=uri)
    told = tuple(dict.fromkeys((*work.state.overwritten, *found)))
    work.state = replace(work.state, last=last.config.to_dict(), overwritten=told)
    share = service.percent_of_newest
    lost = f" Others changed it, which is overwritten: {'; '.join(found)}." if found else ""
    rest = (
        f" The new revision gets {share} % of the traffic; the rest stays." if share < 100 else ""
    )
    return lost + rest


def _about_to_send(work: Work[DeployState], note: str) -> Next:
    work.state = replace(work.state, sent=True, since=work.clock().isoformat())
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
            started = cloud_run.update_service(service, spec, before=before)
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
    judged = compare_service(service, percent=service.percent_of_newest)
    if judged.serves is None and not is_late(work):
        return Poll(note=judged.reason)
    if judged.serves:
        back = work.state.going_back
        if not back and (why := replaced_while_starting(asked_run(work), work.state.artifact_uri)):
            return _take_back(work, service, endpoint, f"Its files were replaced meanwhile: {why}.")
        work.state = replace(
            work.state,
            url=service.uri,
            revision=service.latest_ready_revision,
            sent=work.state.sent and not back,
        )
        return Next(to="give_up" if back else "record", note=judged.reason)
    late = f"Cloud Run was at it for {LONGEST}: " if judged.serves is None else ""
    return _take_back(work, service, endpoint, late + judged.reason)


def _require_in_time(work: Work[DeployState], reason: str) -> None:
    """Fail a rollout that is late; it may still succeed, so both versions stay protected.

    :raises DeployFailed: it is late.
    """
    if is_late(work):
        raise DeployFailed(f"{reason} Cloud Run was at it for {LONGEST}.")


def _take_back(
    work: Work[DeployState], service: RemoteService, endpoint: DeployedEndpoint, reason: str
) -> Next:
    """Undo a failed rollout: restore the previous version, or delete the service that we made."""
    work.state = replace(work.state, failure=work.state.failure or reason)
    if work.state.going_back:
        if share_of(service, endpoint.revision) == (service.percent_of_newest or 100):
            work.state = replace(work.state, sent=False)
        return Next(to="give_up", note=reason)
    work.state = replace(work.state, refusals=0)
    if work.state.before:
        work.state = replace(work.state, going_back=True)
        return Next(to="look", note=f"{reason} The previous version is restored.")
    if work.state.removing and is_late(work):
        return Next(to="give_up", note=reason)
    since = work.clock().isoformat()
    work.state = replace(work.state, removing=True, etag=service.etag, since=since)
    return Next(to="remove", note=reason)


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


def asked_run(work: Work[DeployState]) -> TrainingRun:
    return TrainingRun.objects.get(pk=work.state.run)


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
