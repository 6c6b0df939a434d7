"""Findings: which disagreements between planes there are, and how they are stored."""

from __future__ import annotations
