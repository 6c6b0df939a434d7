"""What Google's clients make of a request message for REST is read back as the same message."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from google.api_core import path_template, rest_helpers
from google.protobuf import duration_pb2, field_mask_pb2, json_format, timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.server.http_types import target_of
from ml_platform.localcloud.server.rest import transcoding
from ml_platform.localcloud.server.rest.partial import parse_fields, select
from ml_platform.localcloud.server.rest.paths import Paths, Rule
from ml_platform.localcloud.server.rest.rules import rules_of
from ml_platform.localcloud.server.rest.service import raw
from ml_platform.localcloud.server.rpc.grpc_server import Method

_VARIABLE = re.compile(r"\{([\w.]+)(?:=([^{}]*))?\}")
_WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_F = FieldDescriptor
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    _F.TYPE_STRING: _WORDS,
    _F.TYPE_BYTES: st.binary(max_size=8),
    _F.TYPE_BOOL: st.booleans(),
    _F.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    _F.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    _F.TYPE_UINT32: st.integers(0, 2**32 - 1),
    _F.TYPE_UINT64: st.integers(0, 2**64 - 1),
    _F.TYPE_DOUBLE: st.floats(allow_nan=False, allow_infinity=False),
    _F.TYPE_FLOAT: st.floats(allow_nan=False, allow_infinity=False, width=32),
}
_KNOWN: dict[str, st.SearchStrategy[Message]] = {
    "google.protobuf.Timestamp": st.integers(0, 4_000_000_000).map(
        lambda second: timestamp_pb2.Timestamp(seconds=second, nanos=second % 1_000_000_000)
    ),
    "google.protobuf.Duration": st.integers(0, 99_999).map(
        lambda second: duration_pb2.Duration(seconds=second)
    ),
    "google.protobuf.FieldMask": st.lists(
        st.sampled_from(["labels", "display_name", "a.b_c"]), max_size=3
    ).map(lambda paths: field_mask_pb2.FieldMask(paths=paths)),
}


@functools.cache
def bound() -> list[tuple[Method, Rule]]:
    """Every method of the cloud with each of its rules."""
    cloud = LocalCloud()
    return [
        (method, rule)
        for service in cloud.rest.services
        for name, method in service.methods.items()
        if name != "RawPredict"  # its HTTP body is no message
        for rule in rules_of(service.transport)[name]
    ]


@functools.cache
def paths() -> Paths[Method]:
    """The paths of all of them."""
    return LocalCloud().rest.paths


def value_for(draw: st.DrawFn, field: FieldDescriptor) -> Any:
    """A value of a scalar field."""
    if field.enum_type is not None:
        return draw(st.sampled_from([value.number for value in field.enum_type.values]))
    return draw(_SCALARS[field.type])


def complete(draw: st.DrawFn, message: Message, depth: int, *, in_query: bool) -> None:
    """Set some fields; a query has no maps and no lists of messages."""
    for field in message.DESCRIPTOR.fields:
        if not draw(st.booleans()):
            continue
        kind = field.message_type
        if kind is None:
            value = value_for(draw, field)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
        elif kind.GetOptions().map_entry or (in_query and field.is_repeated):
            continue
        elif kind.full_name in _KNOWN and not field.is_repeated:
            getattr(message, field.name).CopyFrom(draw(_KNOWN[kind.full_name]))
        elif depth and not kind.full_name.startswith("google.protobuf."):
            place = getattr(message, field.name)
            inner = place.add() if field.is_repeated else place
            complete(draw, inner, depth - 1, in_query=in_query)


@st.composite
def asked(draw: st.DrawFn) -> tuple[Method, Rule, Message]:
    """A request of any method that fits one of its rules."""
    method, rule = draw(st.sampled_from(bound()))
    message = raw(method.decode(b""))
    complete(draw, message, 2, in_query=not rule.body)
    if rule.body not in ("", "*"):
        body = type(getattr(message, rule.body))()
        body.CopyFrom(getattr(message, rule.body))
        message.Clear()
        getattr(message, rule.body).CopyFrom(body)
    for field, pattern in _VARIABLE.findall(rule.uri):
        *parents, last = field.split(".")
        owner = functools.reduce(getattr, parents, message)
        part = draw(st.sampled_from(["x", "a.b@1", "ä", "50%", "a b"]))
        setattr(owner, last, (pattern or "*").replace("**", "*").replace("*", part))
    return method, rule, message


def without_empty(tree: Any) -> Any:
    """A query cannot tell an empty message from none."""
    if not isinstance(tree, dict):
        return tree
    pruned = {key: without_empty(value) for key, value in tree.items()}
    return {key: value for key, value in pruned.items() if value not in ({}, [])}


@settings(max_examples=100, deadline=None)
@given(asked())
def test_what_googles_client_sends_is_read_as_it_was_meant(
    request_of: tuple[Method, Rule, Message],
) -> None:
    method, rule, message = request_of
    option = {"method": rule.verb.lower(), "uri": rule.uri, "body": rule.body}
    sent = path_template.transcode([{k: v for k, v in option.items() if v}], message)
    numbers = {"use_integers_for_enums": True}
    query = json_format.MessageToDict(sent["query_params"], **numbers)
    flat = rest_helpers.flatten_query_params(query, strict=True)
    body = json_format.MessageToJson(sent["body"], **numbers).encode() if "body" in sent else b""
    path, pairs = target_of(f"{sent['uri']}?{urlencode(flat)}")
    found = paths().find(rule.verb, path)
    assert found is not None
    assert found[0].name == method.name
    read = raw(method.decode(b""))
    transcoding.fill(read, found[1], found[2], pairs, body)
    assert without_empty(json_format.MessageToDict(read)) == without_empty(
        json_format.MessageToDict(message)
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_json_is_read_or_refused(data: st.DataObject) -> None:
    method, rule = data.draw(st.sampled_from(bound()))
    message = raw(method.decode(b""))
    names = [field.json_name for field in message.DESCRIPTOR.fields]
    assume(names)
    inner = {name: data.draw(JSON) for name in data.draw(st.lists(st.sampled_from(names)))}
    body = json.dumps(inner).encode()
    with contextlib.suppress(transcoding.Refused):
        transcoding.fill(message, Rule(rule.verb, rule.uri, "*"), {}, [], body)


def test_a_variable_of_one_segment_loses_its_escapes_and_a_longer_one_keeps_its_slashes() -> None:
    known: Paths[str] = Paths()
    known.add(Rule("GET", "/v1/{name}"), "one")
    known.add(Rule("GET", "/v1/{name=things/*}"), "two")
    known.add(Rule("GET", "/v1/{name=all/**}:count"), "many")
    for path, wanted in (
        ("/v1/a%2Fb%40", ("one", {"name": "a/b@"})),
        ("/v1/things/a%2Fb%40", ("two", {"name": "things/a%2Fb@"})),
        ("/v1/all/a/b:count", ("many", {"name": "all/a/b"})),
        ("/v1/a:other", ("one", {"name": "a:other"})),
    ):
        found = known.find("GET", path)
        assert found is not None
        assert (found[0], found[2]) == wanted
    assert known.find("POST", "/v1/a") is None
    for path in ("/v1/a:count", "/v2/a", "/v1/", "/v1/all:count", ""):
        assert known.find("GET", path) is None


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ("a", {"a": {"b": 1, "c": [{"d": 2, "e": 3}]}}),
        ("a/b,f", {"a": {"b": 1}, "f": 4}),
        ("a(b,c/d)", {"a": {"b": 1, "c": [{"d": 2}]}}),
        ("a/c(e)", {"a": {"c": [{"e": 3}]}}),
        ("a/b,a/c/d", {"a": {"b": 1, "c": [{"d": 2}]}}),
        ("a/b,a", {"a": {"b": 1, "c": [{"d": 2, "e": 3}]}}),
        ("*/b", {"a": {"b": 1}, "f": 4}),
        ("a/*/d", {"a": {"b": 1, "c": [{"d": 2}]}}),
        ("*", {"a": {"b": 1, "c": [{"d": 2, "e": 3}]}, "f": 4}),
        ("g", {}),
    ],
)
def test_a_partial_answer(fields: str, wanted: dict[str, Any]) -> None:
    whole = {"a": {"b": 1, "c": [{"d": 2, "e": 3}]}, "f": 4}
    assert select(whole, parse_fields(fields)) == wanted


@pytest.mark.parametrize(
    "fields", ["(", ")", "a(", "a)", "a(b", ",", "a,", "a//b", "a/", "/", "a b(", "ä"]
)
def test_a_selection_that_cannot_be_read(fields: str) -> None:
    with pytest.raises(ValueError, match="Invalid field selection"):
        parse_fields(fields)


@given(st.text("ab*(),/", max_size=12))
def test_any_selection_is_read_or_refused(fields: str) -> None:
    with contextlib.suppress(ValueError):
        select({"a": {"b": [1]}}, parse_fields(fields))
