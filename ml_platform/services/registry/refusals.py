"""Objects that Cloud Storage refuses to delete: they are named, and the others still deleted,
because a refusal concerns one object only (law 14)."""

from __future__ import annotations

from urllib.parse import quote, unquote

from ml_platform.services.operations.work import Json
from ml_platform.text import counted

from .artifacts import Chunk

_NOW, _ALL = "refused", "refused_in_all"


def quoted(name: str) -> str:
    """A name to store in an operation: Cloud Storage allows names that no database can store."""
    return quote(name, errors="surrogatepass")


def unquoted(name: str) -> str:
    """The name as it was before `quoted`."""
    return unquote(name, errors="surrogatepass")


def place(data: Json) -> str:
    """The object of the current folder after which to go on."""
    return unquoted(data.get(_NOW, {}).get("after", ""))


def pass_by(data: Json, chunk: Chunk) -> None:
    """Go on after a chunk of which nothing could be deleted, and store the first reason.

    If a part of it was deleted, the rest is listed and tried again, so that nothing counts twice.
    """
    if not chunk.passed:
        return
    now = data.get(_NOW, {"objects": 0, "first": ""})
    named = [f"{refused.name!r}: {refused.reason}" for refused in chunk.refused[:1]]
    data[_NOW] = {
        "after": quoted(chunk.passed),
        "objects": now["objects"] + len(chunk.refused),
        "first": now["first"] or "".join(named),
    }


def end_folder(data: Json, folder: str) -> str:
    """Why objects of the current folder stay; '' if none was refused."""
    now = data.pop(_NOW, {"objects": 0})
    # By folder, so that one that is read again counts once.
    counts = data.get(_ALL, {}) | {quoted(folder): now["objects"]}
    data[_ALL] = {name: count for name, count in counts.items() if count}
    if not now["objects"]:
        return ""
    return f"{counted(now['objects'], 'object')} may not be deleted, the first one {now['first']}"


def forget_folder(data: Json) -> None:
    """Begin the current folder again."""
    data.pop(_NOW, None)


def in_all(data: Json) -> str:
    """How many objects were refused in all folders; '' for none."""
    count = sum(data.get(_ALL, {}).values())
    return f"{counted(count, 'object')} may not be deleted" if count else ""
