"""Misfortune on order."""

from __future__ import annotations
