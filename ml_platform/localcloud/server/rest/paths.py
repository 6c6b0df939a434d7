"""Path templates of google/api/http.proto: which rule answers a verb and a path."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote

T = TypeVar("T")

_VARIABLE = re.compile(r"\{([\w.]+)(?:=([^{}]*))?\}")
_CUSTOM = re.compile(r":(\w+)$")
_STAR = re.compile(r"\*\*|\*")
_SLASH = re.compile(r"(%2[fF])")


class Rule(NamedTuple):
    """One HTTP binding: `body` is '' for none, '*' for the whole message, or a field."""

    verb: str
    uri: str
    body: str = ""


@dataclass(frozen=True)
class _Template(Generic[T]):
    uri: str  # the rule's, without its custom verb
    rule: Rule
    target: T

    def match(self, path: str) -> dict[str, str] | None:
        """The decoded variables of an encoded path."""
        found = _compiled(self.uri).fullmatch(path)
        if found is None:
            return None
        variables = zip(_VARIABLE.finditer(self.uri), found.groups(), strict=True)
        return {
            variable[1]: _decoded(text, many="/" in _glob(variable) or "**" in _glob(variable))
            for variable, text in variables
        }


class Paths(Generic[T]):
    """Which rule, and what it belongs to, answers a verb and a path."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], list[_Template[T]]] = {}
        self._versions: set[str] = set()
        self._customs: set[str] = set()

    def add(self, rule: Rule, target: T) -> None:
        """The first of several equal rules is kept."""
        found = _CUSTOM.search(rule.uri)
        uri, custom = (rule.uri[: found.start()], found[1]) if found else (rule.uri, "")
        segments = 0 if "**" in uri else _VARIABLE.sub(_glob, uri).count("/")
        templates = self._known.setdefault((rule.verb, custom, segments), [])
        if all(other.uri != uri for other in templates):
            templates.append(_Template(uri, rule, target))
        self._versions.add(uri.split("/")[1])
        self._customs |= {custom} - {""}

    def serves(self, path: str) -> bool:
        """Whether a path begins as the added ones do, such as /v1/."""
        return path.split("/", 2)[1] in self._versions if path.count("/") > 1 else False

    def find(self, verb: str, path: str) -> tuple[T, Rule, dict[str, str]] | None:
        """For an encoded path: the target, its rule and the decoded variables."""
        text, _, custom = path.rpartition(":")
        if custom not in self._customs:
            text, custom = path, ""
        for segments in (text.count("/"), 0):
            for template in self._known.get((verb, custom, segments), ()):
                if (values := template.match(text)) is not None:
                    return template.target, template.rule, values
        return None


def _glob(match: re.Match[str]) -> str:
    return match[2] or "*"


@functools.cache
def _compiled(uri: str) -> re.Pattern[str]:
    return re.compile("".join(_pieces(uri)))


def _pieces(uri: str) -> Iterator[str]:
    at = 0
    for match in _VARIABLE.finditer(uri):
        yield _wild(uri[at : match.start()])
        yield f"({_wild(_glob(match))})"
        at = match.end()
    yield _wild(uri[at:])


def _wild(text: str) -> str:
    at, pattern = 0, ""
    for star in _STAR.finditer(text):
        pattern += re.escape(text[at : star.start()]) + (".+" if star[0] == "**" else "[^/]+")
        at = star.end()
    return pattern + re.escape(text[at:])


def _decoded(text: str, *, many: bool) -> str:
    """A variable of several segments keeps %2F, as google/api/http.proto requires."""
    if not many:
        return unquote(text)
    return "".join(part if _SLASH.fullmatch(part) else unquote(part) for part in _SLASH.split(text))
