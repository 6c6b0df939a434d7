"""Delete versions and models: plan, preview, steps."""

from __future__ import annotations
