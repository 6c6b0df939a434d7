"""Cloud Run."""

from __future__ import annotations
