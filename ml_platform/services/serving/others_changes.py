"""What others changed on a service that we deploy to: it is told before it is overwritten.

Settings that are not ours stay (`cloud/run_messages.py`), and so does the traffic that they sent
elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.types import RemoteService, ServiceSpec
from ml_platform.errors import Conflict
from ml_platform.models import DeployedEndpoint, Operation, TrainingRun
from ml_platform.models.states import Registration
from ml_platform.services.ownership.identification import holds_files_of
from ml_platform.services.ownership.labels import LINEAGE, OPERATION, RUN, is_uid

from .config import ServingConfig, service_spec
from .our_fields import Difference, NotExpressible, differences, take_over, with_theirs

ATTEMPT = "mlp_attempt"
"""Label that distinguishes the attempts of an operation, which may deploy the same version."""
BACK = "-back"
"""Ends the label of an attempt to restore the previous version."""


class TrafficElsewhere(Conflict):
    """The traffic was sent to other revisions, so a new one would get none."""

    code = "traffic_elsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWritten:
    """The run and the configuration that we gave a service last."""

    run_id: int | None
    config: ServingConfig


def require_traffic(service: RemoteService) -> None:
    """Check that a new revision would get requests; traffic is not changed unasked (law 13).

    :raises TrafficElsewhere: it would not.
    """
    if not service.percent_of_newest:
        name = service.service_id
        raise TrafficElsewhere(
            f"The traffic of {name} was sent to {', '.join(service.serving) or 'no revision'} on "
            "Cloud Run, so a new revision would get none.",
            advice="Send it to the latest revision on Cloud Run (gcloud run services "
            f"update-traffic {name} --to-latest), then deploy again.",
        )


def last_written(service: RemoteService, endpoint: DeployedEndpoint) -> LastWritten:
    """What we gave the service last, by the operation that its labels name.

    The endpoint's row has what the last successful deploy gave it, which may be older.
    """
    by, attempt = service.labels.get(OPERATION, ""), service.labels.get(ATTEMPT, "")
    data = None
    if is_uid(by) and not attempt.endswith(BACK):
        known = Operation.objects.filter(pk=by, service_key=service.service_id)
        data = known.values_list("data", flat=True).first()
    if not data or "config" not in data:
        return LastWritten(run_id=endpoint.run_id, config=ServingConfig.from_dict(endpoint.config))
    return LastWritten(run_id=data.get("run"), config=ServingConfig.from_dict(data["config"]))


def changed_by_others(
    service: RemoteService, last: LastWritten, endpoint: DeployedEndpoint, *, artifact_uri: str
) -> tuple[str, ...]:
    """What others changed of what we gave the service, in words; '' for unknown artifacts."""
    labels = {LINEAGE: endpoint.registered_model.uid.hex}
    if endpoint.run and last.run_id == endpoint.run_id:
        labels[RUN] = endpoint.run.uid.hex
    uri = artifact_uri or service.env.get(ARTIFACT_ENV, "")
    given = service_spec(last.config, artifact_uri=uri, labels=labels)
    return tuple(one.words for one in differences(service.spec, given)) if service.spec else ()


def version_of_files(
    endpoint: DeployedEndpoint, found: ServiceSpec, differing: Collection[Difference]
) -> TrainingRun:
    """Return the version whose files the service has: the endpoint's own if nobody changed them.

    :raises NotExpressible: they are those of no registered version of its model.
    """
    if endpoint.run and all(one.name != ARTIFACT_ENV for one in differing):
        return endpoint.run
    uri = found.env.get(ARTIFACT_ENV, "")
    runs = endpoint.registered_model.training_runs.filter(registration=Registration.REGISTERED)
    held = next((run for run in runs.order_by("-version") if holds_files_of(run, uri)), None)
    if held is None:
        raise NotExpressible(
            f"The files that {ARTIFACT_ENV} names are of no registered version of this model."
        )
    return held


def as_served(
    endpoint: DeployedEndpoint, found: ServiceSpec | None
) -> tuple[ServingConfig, ServiceSpec | None]:
    """Return the endpoint's configuration as its service has it, and what counts as written by us.

    Where no configuration can say it, its own one: the next sweep tells the differences.
    """
    config = ServingConfig.from_dict(endpoint.config)
    if found is None:
        return config, None
    given = service_spec(config, artifact_uri=found.env.get(ARTIFACT_ENV, ""), labels={})
    differing = tuple(differences(found, given))
    try:
        return take_over(config, found, differing), with_theirs(given, found, differing)
    except NotExpressible:
        return config, given
