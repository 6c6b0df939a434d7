"""Disagreements between planes: what counts as one, and how each is kept."""

from __future__ import annotations
