"""Objects that Cloud Storage refuses to delete: each is named and passed by (law 14).

What is remembered of the current folder is JSON: the place after which to continue, how many were
refused, and the first one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

from ml_platform.services.artifacts.folders import Chunk
from ml_platform.text import counted

Refused: TypeAlias = Mapping[str, Any]
# Cloud Storage allows characters in names that databases do not store, so names are stored quoted.
quoted = partial(quote, errors="surrogatepass")
unquoted = partial(unquote, errors="surrogatepass")


def place(refused: Refused) -> str:
    """The name of the object after which to continue in the current folder."""
    return unquoted(refused.get("after", ""))


def pass_by(refused: Refused, chunk: Chunk) -> Refused:
    """Continue after a chunk without a deletion, and note the first reason.

    A chunk that was deleted in part is listed again, so that no object is counted twice.
    """
    if not chunk.passed:
        return refused
    named = [f"{item.name!r}: {item.reason}" for item in chunk.refused[:1]]
    return {
        "after": quoted(chunk.passed),
        "objects": count_of(refused) + len(chunk.refused),
        "first": refused.get("first") or "".join(named),
    }


def count_of(refused: Refused) -> int:
    """How many objects of the folder were refused."""
    return int(refused.get("objects", 0))


def why_left(refused: Refused) -> str:
    """Why a part of the folder stays, '' if all of it was deleted."""
    if not count_of(refused):
        return ""
    objects = counted(count_of(refused), "object")
    return f"{objects} may not be deleted, the first one {refused.get('first')}"
