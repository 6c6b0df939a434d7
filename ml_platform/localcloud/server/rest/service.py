"""REST for every wired service: the same handlers behind the same gate, transcoded from JSON.

The answers' form is Google's: proto3 JSON, and errors as cloud.google.com/apis/design/errors.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from ...core.errors import CloudError
from ...core.interceptor import Gate
from ..http_types import JSON_TYPE, HttpError, Reply, Request, http_status
from ..rpc.grpc_server import Method, Service, call
from . import transcoding
from .partial import Tree, parse_fields, select
from .paths import Paths, Rule
from .rules import rules_of
from .transcoding import Refused

# cloud.google.com/apis/docs/system-parameters: those with an effect on the answer, and those
# that name the caller or are only for measurements.
_ALT, _FIELDS, _PRETTY = ("alt", "$alt"), ("fields", "$fields"), ("prettyPrint", "$prettyPrint")
_CALLER = ("key", "$key", "access_token", "oauth_token", "quotaUser", "$quotaUser", "userIp")
_SYSTEM = frozenset((*_ALT, *_FIELDS, *_PRETTY, *_CALLER, "$.xgafv", "callback", "$callback"))
_FORMS = {
    "json": False,
    "json;enum-encoding=string": False,
    "json;enum-encoding=int": True,
}


class Rest:
    """The paths of the services; `answer` never raises a CloudError, it is an answer too."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.services: tuple[Service, ...] = ()
        self._mixed_in: tuple[Service, ...] = ()

    def serve(self, services: Iterable[Service], mixed_in: Iterable[Service]) -> None:
        """Serve these; their rules are read when the first request comes."""
        self.services, self._mixed_in = tuple(services), tuple(mixed_in)

    @functools.cached_property
    def paths(self) -> Paths[Method]:
        """All paths with the methods that answer them."""
        paths: Paths[Method] = Paths()
        mixed_in = {name: one for each in self._mixed_in for name, one in each.methods.items()}
        for service in self.services:
            for name, rules in rules_of(service.transport).items():
                method = service.methods.get(name) or mixed_in.get(name)
                if method is None or method.answer is HttpBody:
                    continue  # the bodies of RawPredict are not messages: it has a route of its own
                for rule in rules:
                    paths.add(rule, method)
        return paths

    def serves(self, path: str) -> bool:
        """Whether a path is of these services at all."""
        return self.paths.serves(path)

    def answer(self, request: Request) -> Reply:
        """Answer one request."""
        try:
            found = self.paths.find(request.verb.replace("HEAD", "GET"), request.path)
            if found is None:
                raise HttpError(404, "notFound", f"Nothing is served at {request.path}.")
            pairs = request.pairs or tuple(request.query.items())
            wanted = _Wanted.of({key: text for key, text in pairs if key in _SYSTEM})
            if name := transcoding.unknown_field(found[0].answer.DESCRIPTOR, wanted.fields):
                raise _invalid(f"Invalid field selection {name}")
            query = [(key, text) for key, text in pairs if key not in _SYSTEM]
            answer = self._call(found, query, request)
            return _reply(transcoding.to_json(answer, numbers=wanted.numbers), wanted)
        except CloudError as error:
            return error_answer(error)

    def _call(
        self,
        found: tuple[Method, Rule, dict[str, str]],
        query: Sequence[tuple[str, str]],
        request: Request,
    ) -> Message:
        method, rule, variables = found
        message = raw(method.decode(b""))
        try:
            transcoding.fill(message, rule, variables, query, request.body)
        except Refused as refused:
            raise _refusal(refused) from None
        decoded = method.decode(message.SerializeToString())
        return raw(call(self._gate, method, decoded, request.headers, request.on_gone))


def error_answer(error: CloudError) -> Reply:
    """Google's error object, with the details of `google.rpc`."""
    status = error.http_status if isinstance(error, HttpError) else http_status(error.code)
    body: dict[str, Any] = {
        "code": status,
        "message": error.message,
        "status": error.code.name,
    }
    if details := transcoding.to_json(error.status(), numbers=False).get("details"):
        body["details"] = details
    return _reply({"error": body}, _Wanted(), status)


def raw(message: Any) -> Message:
    """The protobuf message inside a message of proto-plus, or a message itself."""
    if isinstance(message, Message):
        return message
    raw: Message = type(message).pb(message)
    return raw


class _Wanted(NamedTuple):
    """What the system parameters ask of the answer's form."""

    numbers: bool = False  # enums as numbers
    indent: int | None = 2
    fields: Tree = {}

    @classmethod
    def of(cls, system: Mapping[str, str]) -> Self:
        """Raises UNIMPLEMENTED for what is not served, INVALID_ARGUMENT for bad fields."""
        if "callback" in system or "$callback" in system:
            raise _unserved("the parameter 'callback'")
        form = _last(system, _ALT, "json")
        if form not in _FORMS:
            raise _unserved(f"alt={form}")
        fields = _last(system, _FIELDS, "")
        try:
            tree = parse_fields(fields) if fields else {}
        except ValueError as error:
            raise _invalid(str(error)) from None
        return cls(_FORMS[form], 2 if _last(system, _PRETTY, "true") != "false" else None, tree)


def _last(system: Mapping[str, str], names: tuple[str, str], otherwise: str) -> str:
    return next((system[name] for name in reversed(names) if name in system), otherwise)


def _invalid(message: str, details: Sequence[Message] = ()) -> CloudError:
    return CloudError(grpc.StatusCode.INVALID_ARGUMENT, message, details)


def _unserved(what: str) -> CloudError:
    return CloudError(grpc.StatusCode.UNIMPLEMENTED, f"The local cloud does not serve {what}.")


def _refusal(refused: Refused) -> CloudError:
    detail = error_details_pb2.BadRequest()
    for violation in refused.violations:
        detail.field_violations.add(field=violation.field, description=violation.description)
    return _invalid(str(refused), [detail])


def _reply(value: Any, wanted: _Wanted, status: int = 200) -> Reply:
    text = json.dumps(select(value, wanted.fields), indent=wanted.indent)
    return Reply(status, text.encode(), JSON_TYPE)
