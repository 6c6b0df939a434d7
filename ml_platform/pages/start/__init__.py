"""The starting page."""

from __future__ import annotations
