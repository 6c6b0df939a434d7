"""Endpoints, and what they serve."""

from __future__ import annotations
