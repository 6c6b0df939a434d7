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
        name, branch = _item(tokens, text)
        tree[name] = _both(tree[name], branch) if name in tree else branch
        if tokens[0] != ",":
            return tree
        del tokens[0]


def _item(tokens: list[str], text: str) -> tuple[str, Tree]:
    name = tokens.pop(0)
    if name in {"", "(", ")", ",", "/"}:
        raise ValueError(f"Invalid field selection {text}")
    branch: Tree = {}
    if tokens[0] == "/":
        del tokens[0]
        branch = dict((_item(tokens, text),))
    elif tokens[0] == "(":
        del tokens[0]
        branch = _list(tokens, text)
        if tokens.pop(0) != ")":
            raise ValueError(f"Invalid field selection {text}")
    return name, branch


def _both(one: Tree, other: Tree) -> Tree:
    """`a/b` and `a/c` together; either of them may be all of it."""
    if not one or not other:
        return {}
    common = {name: _both(one[name], other[name]) for name in one.keys() & other.keys()}
    return one | other | common
