"""The filter language of Monitoring, as far as time series are chosen by type and labels.

After cloud.google.com/monitoring/api/v3/filters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Protocol

import grpc

from ..core.errors import CloudError

_TERM = re.compile(
    r"""(?P<key>[\w.]+)\s*(?P<op>!=|=|:)\s*
        (?:"(?P<text>(?:[^"\\]|\\.)*)"
          |(?P<call>starts_with|ends_with|has_substring|one_of|monitoring\.regex\.full_match)
           \((?P<args>[^)]*)\)
          |(?P<word>[\w./-]+))""",
    re.VERBOSE,
)
_JOIN = re.compile(r"(AND|OR|NOT)\b|[()]")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_CALLS: dict[str, Callable[[str, list[str]], bool]] = {
    "starts_with": lambda value, args: value.startswith(args[0]),
    "ends_with": lambda value, args: value.endswith(args[0]),
    "has_substring": lambda value, args: args[0] in value,
    "one_of": lambda value, args: value in args,
    "monitoring.regex.full_match": lambda value, args: bool(re.fullmatch(args[0], value)),
}


class Filtered(Protocol):
    """Returns the value of `metric.type`, `resource.labels.x` and similar paths."""

    def field(self, key: str) -> str | None:
        """None if the label does not exist."""


Predicate = Callable[[Filtered], bool]


def refuse(message: str) -> CloudError:
    """INVALID_ARGUMENT."""
    return CloudError(grpc.StatusCode.INVALID_ARGUMENT, message)


def compile_filter(text: str, known: Collection[str]) -> Predicate:
    """INVALID_ARGUMENT for what cannot be read, NOT_FOUND for an unknown metric type."""
    if "metric.type" not in text:
        raise refuse("Field filter had an invalid value: it must specify a metric.type.")
    for name in re.findall(r'metric\.type\s*=\s*"([^"]+)"', text):
        if name not in known:
            raise CloudError(
                grpc.StatusCode.NOT_FOUND, f'Cannot find metric(s) that match type = "{name}".'
            )
    return _Parser(text).parse()


class _Parser:
    """OR of ANDs of terms, NOT and parentheses; terms side by side mean AND."""

    def __init__(self, text: str) -> None:
        self._text, self._tokens = text, list(_tokens(text))

    def parse(self) -> Predicate:
        found = self._any()
        if self._tokens:
            raise _unreadable(self._text)
        return found

    def _accept(self, word: str) -> bool:
        if self._tokens and self._tokens[0] == word:
            del self._tokens[0]
            return True
        return False

    def _any(self) -> Predicate:
        parts = [self._all()]
        while self._accept("OR"):
            parts.append(self._all())
        return lambda series: any(part(series) for part in parts)

    def _all(self) -> Predicate:
        parts = [self._one()]
        while self._accept("AND") or (self._tokens and self._tokens[0] not in ("OR", ")")):
            parts.append(self._one())
        return lambda series: all(part(series) for part in parts)

    def _one(self) -> Predicate:
        if self._accept("NOT"):
            inner = self._one()
            return lambda series: not inner(series)
        if self._accept("("):
            found = self._any()
            if not self._accept(")"):
                raise _unreadable(self._text)
            return found
        if not self._tokens or isinstance(self._tokens[0], str):
            raise _unreadable(self._text)
        return _term(self._tokens.pop(0))  # type: ignore[arg-type]


def _tokens(text: str) -> Iterator[str | re.Match[str]]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif (join := _JOIN.match(text, at)) is not None:
            yield join[0]
            at = join.end()
        elif (term := _TERM.match(text, at)) is not None:
            yield term
            at = term.end()
        else:
            raise _unreadable(text)


def _term(term: re.Match[str]) -> Predicate:
    key, negated = term["key"], term["op"] == "!="
    if term["call"]:
        call, args = _CALLS[term["call"]], _QUOTED.findall(term["args"])
        if not args:
            raise refuse(f"Field filter had an invalid value: {term[0]!r} has no arguments.")
        return lambda series: call(series.field(key) or "", args) != negated
    wanted = term["text"] if term["text"] is not None else term["word"]
    if term["op"] == ":":
        return lambda series: wanted in (series.field(key) or "")
    return lambda series: (series.field(key) == wanted) != negated


def _unreadable(text: str) -> CloudError:
    return refuse(f"Field filter had an invalid value: could not parse {text!r}.")
