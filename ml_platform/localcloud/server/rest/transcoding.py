"""HTTP and JSON to a method's request message and back, by the `google.api.http` rules.

After google/api/http.proto (query, bodies) and protobuf.dev/programming-guides/json. Everything
here is pure: text and messages in, messages and text out.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from .paths import Rule

_BAD = "Invalid JSON payload received."
_TOO_DEEP = f"{_BAD} Message too deep. Max recursion depth is 100."
_PLAIN_JSON = {"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"}
_TYPES = {
    number: name for name, number in vars(FieldDescriptor).items() if name.startswith("TYPE_")
}


class Violation(NamedTuple):
    """What is wrong, in Google's words, and in which field ('' for the message itself)."""

    field: str
    description: str


class Refused(ValueError):
    """The request does not fit its message."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("\n".join(violation.description for violation in violations))
        self.violations = tuple(violations)


def parse_json(body: bytes) -> Any:
    """A JSON text. Raises Refused."""
    try:
        return json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise Refused([Violation("", _TOO_DEEP)]) from None
    except json.JSONDecodeError as error:
        line = error.doc[max(0, error.pos - 20) : error.pos + 20]
        found = f"{_BAD} Unexpected token.\n{line}\n{' ' * min(20, error.pos)}^"
        raise Refused([Violation("", found)]) from None
    except ValueError as error:
        raise Refused([Violation("", f"{_BAD} {error}")]) from None


def _no_constant(name: str) -> None:
    raise ValueError(f"Unexpected token: {name}.")


def fill(
    message: Message,
    rule: Rule,
    variables: Mapping[str, str],
    query: Sequence[tuple[str, str]],
    body: bytes,
) -> None:
    """Set an empty request message from a request. Raises Refused."""
    if body and not rule.body:
        raise Refused([Violation("", f"{_BAD} The method has no request body.")])
    if body:
        tree = parse_json(body)
        if rule.body != "*":
            tree = {rule.body: tree}
        _merge(message, tree)
    if query:
        _merge(message, _bound(message.DESCRIPTOR, rule, query))
    for name, text in variables.items():
        *parents, last = name.split(".")
        owner = message
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, last, text)


def to_json(message: Message, *, numbers: bool) -> Any:
    """Proto3 JSON as Google answers it; `numbers` writes enums as integers."""
    return json_format.MessageToDict(message, use_integers_for_enums=numbers)


def unknown_field(owner: Descriptor, tree: Mapping[str, Any]) -> str | None:
    """A name in a selection of fields (see partial.py) that the message does not have."""
    for name, branch in tree.items():
        field = _field(owner, name)
        if field is None and name != "*":
            return name
        kind = field.message_type if field is not None else None
        if kind is None or _opaque(kind) or kind.GetOptions().map_entry:
            continue
        if (inner := unknown_field(kind, branch)) is not None:
            return inner
    return None


def _merge(message: Message, tree: Any) -> None:
    try:
        problems = list(_misfits(message.DESCRIPTOR, tree, ""))
        if problems:
            raise Refused(problems)
        json_format.ParseDict(tree, message)
    except RecursionError:
        raise Refused([Violation("", _TOO_DEEP)]) from None
    except json_format.ParseError as error:
        if "too deep" in str(error):
            raise Refused([Violation("", _TOO_DEEP)]) from None
        problems = list(_misfits(message.DESCRIPTOR, tree, "", leaves=True))
        raise Refused(problems or [Violation("", f"{_BAD} {error}")]) from None


def _misfits(
    owner: Descriptor, tree: Any, path: str, *, leaves: bool = False
) -> Iterator[Violation]:
    """What in `tree` does not fit the message; values of scalars are judged only with `leaves`."""
    at = f" at '{path}'" if path else ""
    if not isinstance(tree, dict):
        yield (
            _invalid(path, f"type.googleapis.com/{owner.full_name}", tree)
            if path
            else Violation("", f'{_BAD} Unknown name "": Root element must be a message.')
        )
        return
    for key, value in tree.items():
        field = _field(owner, key)
        if field is None:
            unknown = f"{_BAD} Unknown name {_quoted(key)}{at}: Cannot find field."
            yield Violation(path, unknown)
        elif value is not None:
            inner = f"{path}.{field.name}" if path else str(field.name)
            yield from _field_misfits(field, value, inner, leaves=leaves)


def _field_misfits(
    field: FieldDescriptor, value: Any, path: str, *, leaves: bool
) -> Iterator[Violation]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry and isinstance(value, dict):
        entry = kind.fields_by_name["value"]
        for at, item in enumerate(value.values()):
            yield from _value_misfits(entry, item, f"{path}[{at}].value", leaves=leaves)
    elif field.is_repeated and isinstance(value, list):
        for at, item in enumerate(value):
            yield from _value_misfits(field, item, f"{path}[{at}]", leaves=leaves)
    elif field.is_repeated:
        yield _invalid(path, _type_of(field), value)
    else:
        yield from _value_misfits(field, value, path, leaves=leaves)


def _value_misfits(
    field: FieldDescriptor, value: Any, path: str, *, leaves: bool
) -> Iterator[Violation]:
    kind = field.message_type
    if kind is not None and not _opaque(kind):
        yield from _misfits(kind, value, path, leaves=leaves)
    elif leaves and not _parses(field, value):
        yield _invalid(path, _type_of(field), value)


def _parses(field: FieldDescriptor, value: Any) -> bool:
    tree = {field.name: [value] if field.is_repeated else value}
    try:
        json_format.ParseDict(tree, GetMessageClass(field.containing_type)())
    except json_format.ParseError:
        return False
    return True


def _type_of(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    return _TYPES[field.type] if kind is None else f"type.googleapis.com/{kind.full_name}"


def _invalid(path: str, kind: str, value: Any) -> Violation:
    return Violation(path, f"Invalid value at '{path}' ({kind}), {json.dumps(value)[:200]}")


def _quoted(key: str) -> str:
    return json.dumps(key, ensure_ascii=False).encode(errors="replace").decode()


def _opaque(kind: Descriptor) -> bool:
    """Whether its JSON form is not an object of its fields, as a Timestamp's or a Struct's."""
    return str(kind.file.name).startswith("google/protobuf/")


@functools.cache
def _names(owner: Descriptor) -> dict[str, FieldDescriptor]:
    """Fields by either of their names, camelCase or as in the .proto file."""
    return {name: field for field in owner.fields for name in (field.name, field.json_name)}


def _field(owner: Descriptor, key: str) -> FieldDescriptor | None:
    return _names(owner).get(key)


def _unbound(key: str) -> Violation:
    return Violation(
        "",
        f"{_BAD} Unknown name {_quoted(key)}: Cannot bind query parameter. Field '{key}' could "
        "not be found in request message.",
    )


def _bound(root: Descriptor, rule: Rule, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The query as a tree of JSON; beside a body that is the whole message there is none."""
    if rule.body == "*":
        raise Refused([_unbound(key) for key, _ in query])
    tree: dict[str, Any] = {}
    problems = [problem for key, text in query for problem in _bind(tree, root, rule, key, text)]
    if problems:
        raise Refused(problems)
    return tree


def _bind(
    tree: dict[str, Any], owner: Descriptor, rule: Rule, key: str, text: str
) -> Iterator[Violation]:
    *parents, last = key.split(".")
    for name in parents:
        parent = _field(owner, name)
        kind = None if parent is None or parent.is_repeated else parent.message_type
        if parent is None or kind is None or _opaque(kind) or parent.name == rule.body:
            yield _unbound(key)
            return
        owner, tree = kind, tree.setdefault(parent.name, {})
    field = _field(owner, last)
    kind = field.message_type if field is not None else None
    if field is None or (kind is not None and (not _opaque(kind) or kind.full_name in _PLAIN_JSON)):
        yield _unbound(key)
        return
    value = _query_value(field, text)
    if field.is_repeated:
        tree.setdefault(field.name, []).append(value)
    elif field.name in tree:
        yield Violation(
            key,
            f"{_BAD} Unknown name {_quoted(key)}: Proto field is not repeating, cannot start list.",
        )
    else:
        tree[field.name] = value


def _query_value(field: FieldDescriptor, text: str) -> str | bool:
    """JSON has booleans where a query has their names; all other scalars may be strings."""
    kind = field.message_type
    boolean = (
        field.type == FieldDescriptor.TYPE_BOOL
        if kind is None
        else kind.full_name == "google.protobuf.BoolValue"
    )
    return {"true": True, "false": False}.get(text, text) if boolean else text
