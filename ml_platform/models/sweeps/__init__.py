"""Sweeps, what they read from Google, and what they found."""

from __future__ import annotations
