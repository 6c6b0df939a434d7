"""How a Cloud Run service gets a revision: it ends as it was ordered, and the traffic follows."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import grpc
from google.cloud.run_v2.types import condition as condition_types

from ..core.access.callers import caller
from ..core.core import Core
from ..core.errors import CloudError
from ..core.operations import OperationFailed
from . import rules
from .rules import Condition, State

SERVICE, REVISION = "run.service", "run.revision"
Ending = Literal["ready", "fail", "no_traffic"]


@dataclass
class _Order:
    service: str
    ending: Ending
    times: int | None
    message: str


class Rollout:
    """Writes services and their revisions into the store."""

    def __init__(self, core: Core) -> None:
        self._core, self._store, self._names = core, core.store, core.names
        self._orders: list[_Order] = []

    def order(self, service: str, ending: Ending, times: int | None, message: str) -> None:
        """Have the next revisions of services matching a glob end so; ValueError for no ending."""
        if ending not in get_args(Ending):
            raise ValueError(f"ending must be one of {', '.join(get_args(Ending))}.")
        self._orders.append(_Order(service, ending, times, message))

    def reset(self) -> None:
        """Every revision gets ready again."""
        self._orders.clear()

    @property
    def account(self) -> str:
        """Whom services run as that name no account."""
        return f"{self._names.number}-compute@developer.gserviceaccount.com"

    @property
    def caller(self) -> str:
        """Who makes the running call; the default account when it has no credentials."""
        return caller() or self.account

    def roll(self, service: Any, service_id: str) -> Any:
        """Create a revision of the template and route the traffic as the service specifies."""
        wanted = service.template.revision
        # Counted in the store, so that a name is not given twice within a service's life.
        number = self._store.next_id(f"run.revision/{service.uid}")
        short = wanted or rules.revision_name(service_id, number)
        if wanted and self._store.get(REVISION, f"{service_id}/{short}") is not None:
            raise CloudError(
                grpc.StatusCode.ALREADY_EXISTS,
                f"Revision named {short!r} with different configuration already exists.",
            )
        order = self._ending(service_id, routed=rules.follows_latest(service))
        revision = rules.revision_of(service, f"{service.name}/revisions/{short}")
        failed = order is not None and order.ending == "fail"
        self._put_revision(revision, f"{service_id}/{short}", failed=failed)
        service.latest_created_revision = revision.name
        if not failed:
            service.latest_ready_revision = revision.name
        if order is not None and order.ending == "no_traffic":
            return self.settle(service, service_id, keep_traffic=True)
        if not failed:
            return self.route(service, service_id)
        message = (order.message if order else "") or (
            f"Revision '{short}' is not ready and cannot serve traffic. The user-provided "
            "container failed to start and listen on the port defined by PORT."
        )
        self.settle(service, service_id, failure=message)
        raise OperationFailed(grpc.StatusCode.FAILED_PRECONDITION, message)

    def route(self, service: Any, service_id: str) -> Any:
        """Send the traffic where the service specifies; to a missing revision none is sent.

        The operation then ends in INTERNAL (terraform-google-modules/terraform-docs-samples#269).
        """
        for target in service.traffic:
            short = target.revision
            if short and self._store.get(REVISION, f"{service_id}/{short}") is None:
                message = (
                    f"Revision '{short}' does not exist or is deleted. Update all traffic to route "
                    "to currently available revisions."
                )
                self.settle(service, service_id, failure=message, keep_traffic=True)
                raise OperationFailed(grpc.StatusCode.INTERNAL, message)
        return self.settle(service, service_id)

    def reroute(self, service: Any, service_id: str) -> Any:
        """The same for an update that makes no revision; an order may keep the traffic."""
        if self._ending(service_id, only="no_traffic") is None:
            return self.route(service, service_id)
        return self.settle(service, service_id, keep_traffic=True)

    def settle(
        self,
        service: Any,
        service_id: str,
        *,
        failure: str = "",
        keep_traffic: bool = False,
    ) -> Any:
        """Write the service with its conditions, traffic and a new etag."""
        now = self._core.clock.now()
        if not keep_traffic:
            statuses = rules.traffic_statuses(service, service.latest_ready_revision)
            del service.traffic_statuses[:]
            service.traffic_statuses.extend(statuses)
        service.update_time.FromDatetime(now)
        service.last_modifier = self.caller
        service.observed_generation = service.generation
        service.terminal_condition.CopyFrom(_condition("Ready", now, failure))
        del service.conditions[:]
        service.conditions.extend(
            [
                _condition("RoutesReady", now, failure),
                # When only the traffic cannot be sent, the revision itself is ready.
                _condition("ConfigurationsReady", now, "" if keep_traffic else failure),
            ]
        )
        service.etag = rules.etag_of(service)
        self._store.put(SERVICE, service_id, service.SerializeToString())
        self._core.effects.record(
            service.name,
            labels=dict(service.labels),
            detail={"generation": service.generation, "revision": service.latest_created_revision},
        )
        return service

    def _put_revision(self, revision: Any, key: str, *, failed: bool) -> None:
        now = self._core.clock.now()
        revision.uid = str(uuid.uuid4())
        revision.create_time.FromDatetime(now)
        revision.update_time.FromDatetime(now)
        revision.observed_generation = 1
        revision.creator = self.caller
        message = "The user-provided container failed to start." if failed else ""
        revision.conditions.append(_condition("Ready", now, message))
        digest = hashlib.sha256(revision.SerializeToString(deterministic=True)).hexdigest()
        revision.etag = f'"{digest[:32]}"'
        self._store.put(REVISION, key, revision.SerializeToString())

    def _ending(
        self, service_id: str, *, routed: bool = True, only: Ending | None = None
    ) -> _Order | None:
        """The order that applies now; without traffic for the latest revision none can be kept."""
        for order in self._orders:
            due = order.times != 0 and (routed or order.ending != "no_traffic")
            if due and fnmatchcase(service_id, order.service) and only in (None, order.ending):
                order.times = None if order.times is None else order.times - 1
                return order
        return None


def _condition(kind: str, now: datetime, failure: str = "") -> Any:
    state = State.CONDITION_FAILED if failure else State.CONDITION_SUCCEEDED
    condition = Condition(type_=kind, state=state, message=failure)
    if failure:
        condition.reason = condition_types.Condition.CommonReason.REVISION_FAILED
    condition.last_transition_time.FromDatetime(now)
    return condition
