"""Registered models and versions: lineages, aliases, verification, and the list of models."""

from __future__ import annotations
