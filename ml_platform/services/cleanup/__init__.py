"""What nobody needs goes: old artifacts, orphans, stray folders."""

from __future__ import annotations
