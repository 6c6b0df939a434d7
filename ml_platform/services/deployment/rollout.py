"""Bringing a version up on Cloud Run, and taking back what did not come up.

A service that served before gets its version before; one that was made for this deploy goes.
"""

from __future__ import annotations

from ml_platform.cloud import cloud_run
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
from ml_platform.services.registry.verification import seconds_until_consistent

from .deployable import ForeignService
from .service_polling import (
    LONGEST,
    REFUSALS,
    SENT,
    SINCE,
    after_start,
    endpoint_of,
    is_late,
    not_done,
    require_not_refused,
    require_ours,
    tolerate_denied_after_send,
    wait_for,
    was_made_here,
)
from .serving import ARTIFACT_ENV, ServingConfig, compare_service, service_spec, share_of

ATTEMPT = "mlp_attempt"
"""Label that tells one try of an operation from the next, which may want the same version."""


class DeployFailed(PlatformError):
    """The new revision did not come to serve; what served before does."""

    code = "deploy_failed"
    advice = "Look at the revision's logs in Cloud Run, then deploy again."


def look(work: Work) -> Outcome:
    """See what is there under the name: nothing, ours, our own earlier try, or somebody else's."""
    endpoint = endpoint_of(work)
    try:
        with tolerate_denied_after_send(work):
            service = cloud_run.get_service(endpoint.service_name)
    except CloudAbsent as absent:
        require_not_refused(work)
        if not seconds_until_consistent(endpoint.deployed_at, now=work.clock()):
            work.data["gone"] = True
        work.data["etag"] = ""
        return _about_to_send(work, str(absent))
    _keep_off_foreign(work, service, endpoint)
    work.data.pop("gone", None)
    if _is_made(work, service):
        return Next(to="confirm", note="An earlier try has brought it there.")
    require_not_refused(work)
    if endpoint.is_active and endpoint.run and _serves_label(service, endpoint.run):
        work.data.setdefault("before", service.env.get(ARTIFACT_ENV, ""))
    work.data["etag"] = service.etag
    return _about_to_send(work, f"{endpoint.service_name} is there and ours.")


def _about_to_send(work: Work, note: str) -> Next:
    work.data[SENT] = True
    work.data[SINCE] = work.clock().isoformat()
    return Next(note=note)


def _keep_off_foreign(work: Work, service: RemoteService, endpoint: DeployedEndpoint) -> None:
    try:
        require_ours(service, endpoint)
    except ForeignService:
        with tolerate_denied_after_send(work):
            ours = was_made_here(service, endpoint)
        work.data.pop(SENT, None)
        if not ours:
            work.data["gone"] = True  # what we had under this name is not there any more
        raise


def upsert(work: Work) -> Outcome:
    """Change the service in place, or make it: never one after deleting another."""
    name, etag = work.data["service"], work.data["etag"]
    run, config, uri = _target(work)
    spec = service_spec(config, artifact_uri=uri, labels=_labels(work, run))
    try:
        if etag:
            started = cloud_run.update_service(name, spec, etag=etag)
        else:
            started = cloud_run.create_service(name, spec)
    except OutcomeUnknown:
        raise
    except (CloudExists, CloudAbsent) as error:
        raise not_done(work, CloudConflict(str(error), advice=error.advice)) from error
    except PlatformError as error:
        raise not_done(work, error) from error
    return after_start(work, started, to="confirm")


def wait(work: Work) -> Outcome:
    return wait_for(work, to="confirm")


def confirm(work: Work) -> Outcome:
    """Success is the serving revision, not the newest one and not the operation's end."""
    endpoint = endpoint_of(work)
    try:
        with tolerate_denied_after_send(work):
            service = cloud_run.get_service(endpoint.service_name)
    except CloudAbsent as absent:
        if "removing" not in work.data:
            _require_in_time(work, str(absent))
            return Next(to="look", note=str(absent))
        work.data["gone"] = True
        work.data.pop(SENT, None)
        return Next(to="give_up", note=str(absent))
    _keep_off_foreign(work, service, endpoint)
    if not _is_made(work, service):
        _require_in_time(work, f"{service.service_id} is not as it was asked for.")
        return Next(to="look", note="Somebody changed the service meanwhile.")
    judged = compare_service(service)
    if judged.serves is None and not is_late(work):
        return Poll(note=judged.reason)
    if judged.serves:
        work.data.update(url=service.uri, revision=service.latest_ready_revision)
        return Next(to=_after_success(work), note=judged.reason)
    late = f"Cloud Run was at it for {LONGEST}: " if judged.serves is None else ""
    return _take_back(work, service, endpoint, late + judged.reason)


def _require_in_time(work: Work, reason: str) -> None:
    """End without success what does not show in time; it may yet come, so all stays protected.

    :raises DeployFailed: it is late.
    """
    if is_late(work):
        raise DeployFailed(f"{reason} Cloud Run was at it for {LONGEST}.")


def _after_success(work: Work) -> str:
    if "going_back" not in work.data:
        return "record"
    work.data.pop(SENT, None)
    return "give_up"


def _take_back(work: Work, service: RemoteService, endpoint: DeployedEndpoint, reason: str) -> Next:
    """What did not come up shall not stay: bring back what served, or remove what we made."""
    work.data.setdefault("failure", reason)
    if "going_back" in work.data:
        if share_of(service, endpoint.revision) == 100:
            work.data.pop(SENT, None)
        return Next(to="give_up", note=reason)
    work.data.pop("refusals", None)
    if work.data.get("before"):
        work.data["going_back"] = True
        return Next(to="look", note=f"{reason} The version before is brought back.")
    if "removing" in work.data and is_late(work):
        return Next(to="give_up", note=reason)
    work.data.update({"removing": True, "etag": service.etag, SINCE: work.clock().isoformat()})
    return Next(to="remove", note=reason)


def remove(work: Work) -> Outcome:
    """Remove a service that never served."""
    if work.data.get("refusals", 0) >= REFUSALS:
        return Next(to="give_up", note=work.data["refusal"])
    try:
        started = cloud_run.delete_service(work.data["service"], etag=work.data["etag"])
    except CloudAbsent as gone:
        return Next(to="confirm", note=str(gone))
    return after_start(work, started, to="confirm")


def wait_for_removal(work: Work) -> Outcome:
    return wait_for(work, to="confirm")


def give_up(work: Work) -> Outcome:
    raise DeployFailed(work.data["failure"])


# ---- what they read ----------------------------------------------------------------------------


def asked_run(work: Work) -> TrainingRun:
    return TrainingRun.objects.get(pk=work.data["run"])


def _target(work: Work) -> tuple[TrainingRun, ServingConfig, str]:
    """What the service shall serve now: what was asked for, or what it served before."""
    if "going_back" not in work.data:
        config = ServingConfig.from_dict(work.data["config"])
        return asked_run(work), config, work.data["artifact_uri"]
    endpoint = endpoint_of(work)
    if endpoint.run is None:
        raise Conflict(
            f"{endpoint.service_name} served nothing before.",
            advice="Deploy a version by its number.",
        )
    return endpoint.run, ServingConfig.from_dict(endpoint.config), work.data["before"]


def _labels(work: Work, run: TrainingRun) -> dict[str, str]:
    endpoint = endpoint_of(work)
    lineage = endpoint.registered_model
    labels = labels_for(
        lineage=lineage.uid,
        generation=lineage.generation,
        run=run.uid,
        endpoint=endpoint.uid,
        operation=work.operation.pk,
    )
    return {**labels, ATTEMPT: _attempt(work)}


def _attempt(work: Work) -> str:
    back = "-back" if "going_back" in work.data else ""
    return f"{work.data.get('tries', 1)}{back}"


def _is_made(work: Work, service: RemoteService) -> bool:
    """Whether the service is as this operation, in this attempt, asked for it."""
    wanted = {OPERATION: work.operation.pk.hex, ATTEMPT: _attempt(work)}
    return wanted.items() <= service.labels.items()


def _serves_label(service: RemoteService, run: TrainingRun) -> bool:
    return service.labels.get(RUN) == run.uid.hex
