"""docs/host.md as a script: its blocks in their order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "host.md"
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w/]+\.py)\n")


class Block(NamedTuple):
    """A shell script, or what a file gets at its end."""

    file: str
    """Path of the file, '' for a script."""
    text: str


def blocks(section: str) -> list[Block]:
    """The blocks of a section that are typed: scripts, and Python that names its file."""
    text = PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = []
    for language, body in _BLOCK.findall(text):
        file = _FILE.match(body)
        if language == "sh" or file:
            found.append(Block(file[1] if file else "", body))
    return found
