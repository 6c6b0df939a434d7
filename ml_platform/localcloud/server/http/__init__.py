"""The HTTP port."""

from __future__ import annotations
