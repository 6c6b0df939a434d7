"""matchGlob: which names a glob matches, in time that grows with the name alone.

A regular expression of many stars would take for ever on some names, and hold all other calls up.
After cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...server.http_types import HttpError

_TOKEN = re.compile(
    r"(?P<deep>\*\*/?)|(?P<star>\*)|(?P<any>\?)|\[(?P<no>[!^]?)(?P<set>[^\]]+)\]"
    r"|(?P<open>\{)|(?P<close>\})|(?P<comma>,)|\\(?P<escaped>.)|(?P<plain>.)",
    re.DOTALL,
)
_MAX_CACHED = 10_000
_FOLDER = "/"
Fits = Callable[[str], bool]
States = frozenset[int]


class Glob:
    """`*` stays within a folder, `**` does not; `?`, `[a-z]`, `{one,two}`. Raises HTTP 400."""

    def __init__(self, glob: str) -> None:
        self._edges: list[list[tuple[Fits, int]]] = [[]]
        self._free: list[list[int]] = [[]]
        self._next: dict[tuple[States, str], States] = {}
        end = self._build(glob)
        self._start, self._end = self._closed({0}), end

    def matches(self, name: str) -> bool:
        """Whether the whole name fits."""
        states = self._start
        for letter in name:
            states = self._step(states, letter)
            if not states:
                return False
        return self._end in states

    def _step(self, states: States, letter: str) -> States:
        found = self._next.get((states, letter))
        if found is None:
            if len(self._next) >= _MAX_CACHED:
                self._next.clear()
            reached = {to for one in states for fits, to in self._edges[one] if fits(letter)}
            found = self._next[states, letter] = self._closed(reached)
        return found

    def _closed(self, states: set[int]) -> States:
        """With all states that are reached without a letter."""
        found, left = set(states), list(states)
        while left:
            fresh = set(self._free[left.pop()]) - found
            found |= fresh
            left += fresh
        return frozenset(found)

    def _state(self) -> int:
        self._edges.append([])
        self._free.append([])
        return len(self._edges) - 1

    def _build(self, glob: str) -> int:
        at, opened = 0, list[tuple[int, int]]()
        for found in _TOKEN.finditer(glob):
            kind = found.lastgroup or "plain"
            if kind == "open":
                opened.append((at, self._state()))
                at = self._branch(at)
            elif kind == "close" and opened:
                self._free[at].append(opened[-1][1])
                at = opened.pop()[1]
            elif kind == "comma" and opened:
                self._free[at].append(opened[-1][1])
                at = self._branch(opened[-1][0])
            elif kind == "close":
                opened.append((0, 0))
                break
            else:
                at = self._token(at, kind, found)
        if opened:
            raise HttpError(400, "invalid", f"Invalid glob expression: {glob}")
        return at

    def _branch(self, start: int) -> int:
        fresh = self._state()
        self._free[start].append(fresh)
        return fresh

    def _token(self, at: int, kind: str, found: re.Match[str]) -> int:
        to = self._state()
        if kind in ("star", "deep"):
            inside = self._branch(at)
            self._edges[inside].append((_in_folder if kind == "star" else _any, inside))
            if found[0] == "**/":
                # A folder at any depth, or none.
                self._edges[inside].append((_is(_FOLDER), to))
                self._free[at].append(to)
            else:
                self._free[inside].append(to)
        else:
            self._edges[at].append((_letter(kind, found), to))
        return to


def _any(letter: str) -> bool:
    del letter
    return True


def _in_folder(letter: str) -> bool:
    return letter != _FOLDER


def _is(wanted: str) -> Fits:
    return lambda letter: letter == wanted


def _letter(kind: str, found: re.Match[str]) -> Fits:
    if kind == "any":
        return _in_folder
    if kind != "set":
        return _is(found[kind])
    letters = re.escape(found["set"]).replace("\\-", "-")
    try:
        one = re.compile(f"[{'^' if found['no'] else ''}{letters}]", re.DOTALL)
    except re.error:
        raise HttpError(400, "invalid", f"Invalid glob expression: {found[0]}") from None
    return lambda letter: bool(one.fullmatch(letter))
