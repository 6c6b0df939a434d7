"""Sweeps: read every plane once and compare it with our tables."""

from __future__ import annotations
