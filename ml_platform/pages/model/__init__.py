"""One model: its versions, lineage, history; and the page that deletes it."""

from __future__ import annotations
