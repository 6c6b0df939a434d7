"""Comparisons of our records with what a plane has: which findings follow."""

from __future__ import annotations
