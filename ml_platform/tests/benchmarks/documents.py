"""The pages of docs/ that a command writes a part of: its tables and pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = DOCS / "benchmarks.md"


def put(page: str, name: str, text: str) -> str:
    """The page with the text between its two comments of that name.

    :raises ValueError: it does not have them.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    parts = re.split(f"({re.escape(begin)}|{re.escape(end)})", page)
    if len(parts) != 5:
        raise ValueError(f"The page does not have {begin.strip()} and {end}, once each.")
    parts[2] = f"\n{text.strip()}\n\n"
    return "".join(parts)


def write(name: str, text: str) -> None:
    """Put a text into docs/benchmarks.md."""
    PAGE.write_text(put(PAGE.read_text(), name, text))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
