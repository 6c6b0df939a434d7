"""What several pages share: buttons, verbs, tabs, lists by key or page, who holds a lock."""

from __future__ import annotations
