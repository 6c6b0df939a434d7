"""What Cloud Storage refuses to delete: named and passed by, the rest goes on (law 14)."""

from __future__ import annotations

from urllib.parse import quote, unquote

from ml_platform.services.operations.work import Json
from ml_platform.text import counted

from .artifacts import Chunk

_NOW, _ALL = "refused", "refused_in_all"


def quoted(name: str) -> str:
    """A name to keep in an operation: Cloud Storage allows some that no database can keep."""
    return quote(name, errors="surrogatepass")


def unquoted(name: str) -> str:
    """The name as it was before `quoted`."""
    return unquote(name, errors="surrogatepass")


def place(data: Json) -> str:
    """Behind which object of the folder at hand to go on."""
    return unquoted(data.get(_NOW, {}).get("after", ""))


def pass_by(data: Json, chunk: Chunk) -> None:
    """Go on behind a chunk of which nothing could be deleted, and remember the first reason.

    What is refused beside something that went is listed and tried again, so nothing counts twice.
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
    """Why something of the folder at hand stays, '' when nothing of it was refused."""
    now = data.pop(_NOW, {"objects": 0})
    # By folder, since one that is gone over again counts once.
    counts = data.get(_ALL, {}) | {quoted(folder): now["objects"]}
    data[_ALL] = {name: count for name, count in counts.items() if count}
    if not now["objects"]:
        return ""
    return f"{counted(now['objects'], 'object')} may not be deleted, the first one {now['first']}"


def forget_folder(data: Json) -> None:
    """Its deletion begins anew."""
    data.pop(_NOW, None)


def in_all(data: Json) -> str:
    """How much of everything was refused, '' for nothing."""
    count = sum(data.get(_ALL, {}).values())
    return f"{counted(count, 'object')} may not be deleted" if count else ""
