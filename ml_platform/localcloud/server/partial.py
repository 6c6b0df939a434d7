"""Partial answers: the `fields` parameter, as `items(name,size),nextPageToken` or `a/b`.

After cloud.google.com/storage/docs/json_api#partial-response, which all of Google's APIs share.
"""

from __future__ import annotations

import re
from typing import Any

_TOKEN = re.compile(r"[\w.$*@-]+|[(),/]", re.ASCII)
_DEPTH = 50

Tree = dict[str, "Tree"]


def parse_fields(text: str) -> Tree:
    """The selection as a tree; an empty branch is everything below it. Raises ValueError."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text.replace(" ", "") or text.count("(") + text.count("/") > _DEPTH:
        raise ValueError(f"Invalid field selection {text}")
    tokens.append("")
    tree = _list(tokens, text)
    if tokens != [""]:
        raise ValueError(f"Invalid field selection {text}")
    return tree


def select(value: Any, tree: Tree) -> Any:
    """Only what was selected; lists are gone through."""
    if isinstance(value, list):
        return [select(item, tree) for item in value]
    if not tree or not isinstance(value, dict):
        return value
    everywhere = tree.get("*")
    return {
        key: select(item, tree.get(key, everywhere or {}))
        for key, item in value.items()
        if key in tree or everywhere is not None
    }


def _list(tokens: list[str], text: str) -> Tree:
    tree: Tree = {}
    while True:
        branch = tree.setdefault(_name(tokens, text), {})
        while tokens[0] == "/":
            del tokens[0]
            branch = branch.setdefault(_name(tokens, text), {})
        if tokens[0] == "(":
            del tokens[0]
            branch.update(_list(tokens, text))
            if tokens.pop(0) != ")":
                raise ValueError(f"Invalid field selection {text}")
        if tokens[0] != ",":
            return tree
        del tokens[0]


def _name(tokens: list[str], text: str) -> str:
    name = tokens.pop(0)
    if name in {"", "(", ")", ",", "/"}:
        raise ValueError(f"Invalid field selection {text}")
    return name
