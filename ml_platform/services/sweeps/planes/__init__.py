"""The part of a sweep for each plane: compare our rows with its mirror, a chunk at a time."""

from __future__ import annotations
