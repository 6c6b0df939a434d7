"""The filter and order_by expressions of Vertex's lists (what they document of AIP-160)."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from ..errors import invalid

T = TypeVar("T")
# The value of a resource's field: a text, a map (labels), a time, or None if it lacks the field.
Value = str | Mapping[str, str] | datetime | None
Fields = Callable[[str], Value]
Predicate = Callable[[Fields], bool]
# One comparison of a filter: field, key of a map or '', sign, value.
Comparison = tuple[str, str, str, str]

_TOKEN = re.compile(
    r"""\s*(?:(?P<op><=|>=|!=|=|:|<|>|\(|\)|\.)|(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>[^\s()=!<>:."]+))"""
)
_ORDERED: dict[str, Callable[[datetime, datetime], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Filter:
    """A predicate over fields, with comparisons that must all hold: what an index can answer."""

    holds: Predicate
    needed: tuple[Comparison, ...] = ()

    def __call__(self, fields: Fields) -> bool:
        """Whether a resource with these fields is chosen."""
        return self.holds(fields)


def compile_filter(expression: str, allowed: Iterable[str]) -> Filter:
    """A predicate over fields; `labels` is a map, other names are texts or times.

    Field names may be snake_case or camelCase. AND, OR (which binds tighter, as AIP-160 has it),
    NOT or -, and parentheses. INVALID_ARGUMENT for anything else.
    """
    if not expression.strip():
        return Filter(lambda _: True)
    return _Parser(expression, frozenset(allowed)).parse()


def compile_order(order_by: str, allowed: Iterable[str]) -> list[tuple[str, bool]]:
    """[(field, descending)] of `create_time desc, display_name`; INVALID_ARGUMENT otherwise."""
    names, out = frozenset(allowed), []
    for part in filter(None, (part.strip() for part in order_by.split(","))):
        field, _, direction = part.partition(" ")
        field, direction = _snake(field), direction.strip().lower() or "asc"
        if field not in names or direction not in {"asc", "desc"}:
            raise invalid("order_by", f"Unsupported order_by: {part!r}.")
        out.append((field, direction == "desc"))
    return out


def sort(items: list[T], order: list[tuple[str, bool]], key: Callable[[T, str], str]) -> list[T]:
    """`items` by several fields, each up or down; equal ones keep their order."""
    for field, descending in reversed(order):
        items = sorted(items, key=lambda item, f=field: key(item, f), reverse=descending)  # type: ignore[misc]
    return items


def behind(key: Sequence[Any], cursor: Sequence[Any], order: list[tuple[str, bool]]) -> bool:
    """Whether a resource's key comes after another one's in that order (what is left: upwards)."""
    directions = [descending for _, descending in order]
    directions += [False] * (len(key) - len(directions))
    for mine, theirs, descending in zip(key, cursor, directions, strict=True):
        if mine != theirs:
            return bool((mine > theirs) != descending)
    return False


class _Parser:
    def __init__(self, expression: str, allowed: frozenset[str]) -> None:
        self._expression, self._allowed = expression, allowed
        self._tokens = self._scan(expression)
        self._at = 0
        self._needed: list[Comparison] = []

    def parse(self) -> Filter:
        found = self._and()
        if self._at != len(self._tokens):
            raise self._wrong()
        return Filter(found, tuple(self._needed))

    def _wrong(self) -> Exception:
        return invalid("filter", f"Invalid filter expression: {self._expression!r}.")

    def _scan(self, expression: str) -> list[tuple[str, str]]:
        tokens, at = [], 0
        while at < len(expression.rstrip()):
            match = _TOKEN.match(expression, at)
            if match is None or match.lastgroup is None:
                raise self._wrong()
            tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        return tokens

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _accept(self, *texts: str) -> bool:
        kind, text = self._peek()
        if kind != "text" and text in texts:
            self._at += 1
            return True
        return False

    def _and(self) -> Predicate:
        parts = [self._or()]
        # Two terms side by side mean AND too.
        while self._accept("AND") or self._peek() not in {("end", ""), ("op", ")")}:
            parts.append(self._or())
        return lambda fields: all(part(fields) for part in parts)

    def _or(self) -> Predicate:
        before = len(self._needed)
        parts = [self._term()]
        while self._accept("OR"):
            parts.append(self._term())
            del self._needed[before:]
        return lambda fields: any(part(fields) for part in parts)

    def _term(self) -> Predicate:
        if self._accept("NOT"):
            before = len(self._needed)
            inner = self._term()
            del self._needed[before:]
            return lambda fields: not inner(fields)
        if self._accept("("):
            inner = self._and()
            if not self._accept(")"):
                raise self._wrong()
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        field, key = _snake(self._word()), ""
        if field not in self._allowed:
            raise invalid("filter", f"Unsupported field in filter: {field!r}.")
        if self._accept("."):
            key = self._word()
        kind, sign = self._next()
        if kind != "op" or sign not in {*_ORDERED, ":"}:
            raise self._wrong()
        value = self._dotted()
        self._needed.append((field, key, sign, value))
        return lambda fields: _holds(fields(field), key, sign, value)

    def _word(self) -> str:
        kind, text = self._next()
        if kind == "word":
            return text
        if kind == "text":
            return re.sub(r"\\(.)", r"\1", text[1:-1])
        raise self._wrong()

    def _dotted(self) -> str:
        value = self._word()
        # An unquoted value may hold dots and colons: a time, a version.
        while self._accept("."):
            value += f".{self._word()}"
        return value


def _holds(actual: Value, key: str, sign: str, wanted: str) -> bool:
    if isinstance(actual, Mapping):
        if not key:
            return sign == ":" and wanted in actual
        if sign == ":" and wanted == "*":
            return key in actual
        return _text_holds(actual.get(key), sign, wanted)
    if isinstance(actual, datetime):
        return _time_holds(actual, sign, wanted)
    return _text_holds(actual, sign, wanted)


def _time_holds(actual: datetime, sign: str, wanted: str) -> bool:
    if (sign, wanted) == (":", "*"):
        return True
    try:
        when = datetime.fromisoformat(wanted)
        return sign in _ORDERED and _ORDERED[sign](actual, when)
    except (ValueError, TypeError):
        raise invalid("filter", f"Not an RFC 3339 time: {wanted!r}.") from None


def _text_holds(actual: str | None, sign: str, wanted: str) -> bool:
    if sign == "!=":
        return actual != wanted
    if actual is None:
        return False
    if "*" in wanted:
        return fnmatch.fnmatchcase(actual, wanted.replace("[", "[[]"))
    return wanted in actual if sign == ":" else actual == wanted


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
