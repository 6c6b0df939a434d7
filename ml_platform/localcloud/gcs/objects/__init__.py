"""Objects with their generations and bytes."""

from __future__ import annotations
