"""The control API below /_localcloud/, for tests in other processes and the demo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from ..core.call_log import Call
from ..core.faults.orders import Fault
from ..scheduler.ring import Attempt
from ..server.http_types import HttpError, Reply, Request, Route, json_reply
from .snapshot import inventory

if TYPE_CHECKING:
    from .. import LocalCloud

_ROOT = "/_localcloud"


class Control:
    """JSON in, JSON out; HTTP 400 has a sentence that explains the error."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """Every path of the control API."""
        table: list[tuple[str, str, Callable[[Request], object]]] = [
            ("GET", "/state", self._state),
            ("POST", "/places", self._places),
            ("GET", "/iam", self._iam),
            ("POST", "/iam", self._change_iam),
            ("POST", "/keys", self._key_file),
            ("POST", "/clock", self._clock),
            ("GET", "/faults", self._faults),
            ("POST", "/faults", self._order),
            ("DELETE", "/faults", self._clear),
            ("GET", "/calls", self._calls),
            ("GET", "/attempts", self._attempts),
            ("GET", "/messages", self._messages),
            ("POST", "/seed/model", self._seed_model),
            ("POST", "/seed/metrics", self._seed_metrics),
            ("POST", "/outcome", self._outcome),
            ("POST", "/reset", self._reset),
        ]
        return [Route(verb, _ROOT + path, "", self._guarded(do)) for verb, path, do in table]

    def _guarded(self, do: Callable[[Request], object]) -> Callable[[Request], Reply]:
        """Errors in sentences; ?project=&location= say where, else it is the default place."""

        def handle(request: Request) -> Reply:
            where = (request.query.get("project", ""), request.query.get("location", ""))
            try:
                with self._cloud.at(*where):
                    return json_reply(do(request))
            except (TypeError, ValueError) as error:
                raise HttpError(400, "invalid", str(error)) from error

        return handle

    def _state(self, _: Request) -> object:
        cloud = self._cloud
        return {
            "project": cloud.project,
            "project_number": cloud.project_number,
            "location": cloud.location,
            "projects": cloud.core.names.projects,
            "locations": cloud.core.names.locations,
            "grpc": cloud.grpc_target,
            "http": cloud.http_url,
            "now": cloud.clock.now().isoformat(),
            "calls": cloud.effects.count(),
            **inventory(cloud),
        }

    def _places(self, request: Request) -> object:
        """{"projects": {"other-project": 987654321098}, "locations": ["us-central1"]}."""
        self._cloud.declare(**request.json())
        names = self._cloud.core.names
        return {"projects": names.projects, "locations": names.locations}

    def _iam(self, _: Request) -> object:
        return {"accounts": self._cloud.iam.accounts()}

    def _change_iam(self, request: Request) -> object:
        """{"grant": MEMBER, "role": ROLE}, the same with revoke; {"restrict": MEMBER}, release."""
        iam, body = self._cloud.iam, request.json()
        verbs: dict[str, Callable[..., None]] = {
            "grant": iam.grant,
            "revoke": iam.revoke,
            "restrict": iam.restrict,
            "release": iam.release,
        }
        verb = next((verb for verb in verbs if verb in body), None)
        if verb is None:
            raise ValueError(f"One of {', '.join(verbs)} is required.")
        member = str(body.pop(verb))
        with self._cloud.core.lock:
            verbs[verb](member, **body)
        return self._iam(request)

    def _key_file(self, request: Request) -> object:
        """{"account": "robot@demo-project.iam.gserviceaccount.com"}: a new key file of it."""
        return self._cloud.key_file(str(request.json().get("account", "")))

    def _clock(self, request: Request) -> object:
        """{"advance": seconds}, {"set": "2026-01-31T04:00:00Z"}, {"freeze": true} or thaw,
        {"skew": {"storage.*": -300}}."""
        clock = self._cloud.clock
        for verb, value in request.json().items():
            if verb == "advance":
                clock.advance(float(value))
            elif verb == "set":
                clock.set(_aware(value))
            elif verb == "skew":
                for method, seconds in dict(value).items():
                    clock.skew(method, float(seconds))
            elif verb in ("freeze", "thaw"):
                (clock.freeze if verb == "freeze" else clock.thaw)()
            else:
                raise ValueError(f"{verb!r} is none of advance, set, freeze, thaw, skew.")
        return {"now": clock.now().isoformat()}

    def _faults(self, _: Request) -> object:
        return {"faults": [_fault(fault) for fault in self._cloud.faults.orders()]}

    def _order(self, request: Request) -> object:
        """The arguments of `Faults.order`."""
        return _fault(self._cloud.faults.order(**request.json()))

    def _clear(self, request: Request) -> object:
        """The faults of exactly ?method=, or all; hung calls continue."""
        self._cloud.faults.clear(request.query.get("method"))
        return {}

    def _calls(self, request: Request) -> object:
        """?method=glob&mutating=true&after=seq&limit=n: oldest first."""
        effects, glob = self._cloud.effects, request.query.get("method", "*")
        mutating = request.query.get("mutating") == "true"
        found = effects.mutations(glob) if mutating else effects.calls(glob)
        after, limit = request.number("after") or 0, request.number("limit") or 1000
        behind = [call for call in found if call.seq > after]
        return {"calls": [_call(call) for call in behind[:limit]], "total": len(behind)}

    def _attempts(self, _: Request) -> object:
        return {"attempts": [_attempt(one) for one in list(self._cloud.scheduler.attempts)]}

    def _messages(self, request: Request) -> object:
        """?topic=projects/P/topics/T&after=messageId&limit=n: oldest first."""
        topic, after = request.query.get("topic", ""), request.number("after") or 0
        limit = request.number("limit") or 1000
        read = self._cloud.storage.messages.read
        return {"messages": read(topic, after, limit, request.base_url)}

    def _seed_model(self, request: Request) -> object:
        """The arguments of `ModelService.seed`."""
        return {"name": self._cloud.models.seed(**request.json())}

    def _seed_metrics(self, request: Request) -> object:
        """The arguments of `Monitoring.seed`; `day` as 2026-01-31."""
        body = request.json()
        body["day"] = date.fromisoformat(str(body.get("day", "")))
        self._cloud.monitoring.seed(**body)
        return {}

    def _outcome(self, request: Request) -> object:
        """{"plane": "pipelines" | "run"} and the arguments of that plane's `outcome`."""
        body = request.json()
        plane = body.pop("plane", "pipelines")
        if plane not in ("pipelines", "run"):
            raise ValueError(f"{plane!r} is none of pipelines, run.")
        order = self._cloud.run.outcome if plane == "run" else self._cloud.pipelines.outcome
        order(**body)
        return {}

    def _reset(self, _: Request) -> object:
        self._cloud.reset()
        return {}


def _aware(text: object) -> datetime:
    when = datetime.fromisoformat(str(text))
    if when.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone.")
    return when


def _fault(fault: Fault) -> dict[str, Any]:
    public = (
        "method",
        "kind",
        "message",
        "nth",
        "times",
        "seconds",
        "when",
        "status",
        "seen",
        "hits",
    )
    return {name: getattr(fault, name) for name in public} | {"code": fault.code.name}


def _call(call: Call) -> dict[str, Any]:
    values = {field.name: getattr(call, field.name) for field in fields(call)}
    return values | {"at": call.at.isoformat()}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    values = {field.name: getattr(attempt, field.name) for field in fields(attempt)}
    times = {name: values[name].isoformat() for name in ("at", "schedule_time")}
    return values | times
