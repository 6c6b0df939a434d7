"""Versions and models are deleted: plan, preview, steps."""

from __future__ import annotations
