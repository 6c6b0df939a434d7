"""Every unary method of every wired service answers by REST what it answers by gRPC."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import grpc
import pytest
import requests
from google.api_core import path_template
from google.protobuf import json_format
from google.protobuf.message import Message
from grpc_status import rpc_status

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.server.rest.paths import Rule
from ml_platform.localcloud.server.rest.rules import rules_of
from ml_platform.localcloud.server.rest.service import raw
from ml_platform.localcloud.server.rpc.grpc_server import Method, Service
from ml_platform.tests.localcloud.conftest import PARENT

_VARIABLE = re.compile(r"\{([\w.]+)(?:=([^{}]*))?\}")
SERVICES = [
    "ModelService",
    "EndpointService",
    "PipelineService",
    "Projects",
    "Services",
    "Revisions",
    "CloudScheduler",
    "MetricService",
]


def service_of(cloud: LocalCloud, name: str) -> Service:
    """The wired service of a short name."""
    return next(s for s in cloud.rest.services if s.name.rpartition(".")[2] == name)


def name_for(pattern: str) -> str:
    """A resource name that fits, in our project and location, of something that is not there."""
    ours = pattern.replace("projects/*", "projects/demo-project")
    ours = ours.replace("locations/*", "locations/europe-central2")
    return ours.replace("**", "nope").replace("*", "nope")


def request_for(method: Method, rule: Rule) -> Message:
    """A request that names what its path demands and nothing else."""
    message = raw(method.decode(b""))
    for field, pattern in _VARIABLE.findall(rule.uri):
        *parents, last = field.split(".")
        owner = functools.reduce(getattr, parents, message)
        setattr(owner, last, name_for(pattern or "*"))
    if rule.body not in ("", "*"):
        getattr(message, rule.body).SetInParent()
    return message


def by_grpc(cloud: LocalCloud, service: str, name: str, asked: Message) -> Any:
    """The answer as a dict, or the error as (code, message, details)."""
    with grpc.insecure_channel(cloud.grpc_target) as channel:
        ask: Any = channel.unary_unary(f"/{service}/{name}")
        method = service_of(cloud, service.rpartition(".")[2]).methods[name]
        try:
            answer = ask(asked.SerializeToString(), timeout=10)
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            details = json_format.MessageToDict(status).get("details", [])
            return error.code().name, error.details(), details
        return json_format.MessageToDict(method.answer.FromString(answer))


def by_rest(cloud: LocalCloud, rule: Rule, asked: Message) -> Any:
    """The same, through the rule as Google's clients apply it."""
    option = {"method": rule.verb.lower(), "uri": rule.uri, "body": rule.body}
    sent = path_template.transcode([{k: v for k, v in option.items() if v}], asked)
    query = json_format.MessageToDict(sent["query_params"])
    assert not any(isinstance(value, dict) for value in query.values())
    body = json_format.MessageToJson(sent["body"]) if "body" in sent else None
    answer = requests.request(
        rule.verb, f"{cloud.http_url}{sent['uri']}", params=query, data=body, timeout=10
    )
    if answer.status_code == 200:
        return answer.json()
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    return error["status"], error["message"], error.get("details", [])


def test_the_services_of_this_file_are_all_that_are_wired(cloud: LocalCloud) -> None:
    wired = {service.name.rpartition(".")[2] for service in cloud.rest.services}
    assert wired >= set(SERVICES)


def test_every_method_of_every_service_has_a_rule_and_no_two_share_a_path(
    cloud: LocalCloud,
) -> None:
    taken: dict[tuple[str, str], str] = {}
    for service in cloud.rest.services:
        rules = rules_of(service.transport)
        for name, method in service.methods.items():
            assert rules[name], method.name
            for rule in rules[name]:
                key = rule.verb, _VARIABLE.sub(lambda match: match[2] or "*", rule.uri)
                assert taken.setdefault(key, method.name) == method.name
    assert len(taken) > 60


def walk(cloud: LocalCloud, service: Service) -> None:
    """One call each of every method and rule of a service."""
    rules = rules_of(service.transport)
    for name, method in service.methods.items():
        for rule in rules[name] if name != "RawPredict" else ():  # its HTTP body is no message
            asked = request_for(method, rule)
            cloud.reset()
            wanted = by_grpc(cloud, service.name, name, asked)
            cloud.reset()
            assert by_rest(cloud, rule, asked) == wanted, method.name
            assert [call.method for call in cloud.effects.calls()] == [method.name]


def test_one_call_each_by_grpc_and_by_rest(cloud: LocalCloud) -> None:
    for service in cloud.rest.services:
        walk(cloud, service)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.value[0]])
def test_every_code_has_googles_http_status(cloud: LocalCloud, code: grpc.StatusCode) -> None:
    cloud.faults.order("ModelService.ListModels", code=code, message="as ordered")
    answer = requests.get(f"{cloud.http_url}/v1/{PARENT}/models", timeout=5)
    known = {
        400: "INVALID_ARGUMENT FAILED_PRECONDITION OUT_OF_RANGE",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        409: "ALREADY_EXISTS ABORTED",
        429: "RESOURCE_EXHAUSTED",
        499: "CANCELLED",
        500: "UNKNOWN INTERNAL DATA_LOSS",
        501: "UNIMPLEMENTED",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
    assert code.name in known[answer.status_code].split()
    assert json.loads(answer.text) == {
        "error": {"code": answer.status_code, "message": "as ordered", "status": code.name}
    }
