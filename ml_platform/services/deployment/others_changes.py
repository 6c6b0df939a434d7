"""What others changed on a service that we deploy to: it is told before it is overwritten.

Settings that are not ours stay (`cloud/run_messages.py`), and so does the traffic that they sent
elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.types import Ingress, RemoteService, ServiceSpec
from ml_platform.errors import Conflict
from ml_platform.models import DeployedEndpoint, Operation
from ml_platform.services.registry.labels import LINEAGE, OPERATION, RUN, is_uid

from .serving import ServingConfig, service_spec

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
    return tuple(differences(service.spec, given)) if service.spec else ()


_LEFT_OPEN = {"ingress": Ingress.ALL, "service_account": ""}
"""Settings with the value by which a configuration leaves them to others."""
_OURS = (
    "image", "port", "cpu", "memory", "min_instances", "max_instances", "concurrency",
    "timeout_seconds", *_LEFT_OPEN,
)  # fmt: skip
_UNITS: dict[str, Decimal | int] = {
    "": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30,
}  # fmt: skip


def differences(found: ServiceSpec, before: ServiceSpec) -> Iterator[str]:
    """What of our settings differs in a service from what we wrote `before`, in words.

    The value of a variable may be a secret, so it is not told.
    """
    for name in _OURS:
        theirs, ours = getattr(found, name), getattr(before, name)
        if ours != _LEFT_OPEN.get(name) and _amount(theirs) != _amount(ours):
            yield f"{name} is {theirs or 'unset'}, not {ours}"
    for name, value in before.env.items():
        if found.env.get(name) != value:
            yield f"env {name} is {'changed' if name in found.env else 'removed'}"
    for key, value in before.labels.items():
        if found.labels.get(key) != value:
            yield f"label {key} is {found.labels.get(key) or 'removed'}, not {value}"


def _amount(value: object) -> object:
    """A quantity as its number, because Cloud Run may write 1 CPU as 1000m; others unchanged."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d*\.?\d+)(m|Ki|Mi|Gi|k|M|G|)", value)
    return Decimal(match[1]) * _UNITS[match[2]] if match else value
