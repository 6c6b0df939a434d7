"""People: what the history says of a user who left."""

from __future__ import annotations
