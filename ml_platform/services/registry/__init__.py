"""Registered models and versions: names, labels, aliases, mirror, artifacts, checks."""

from __future__ import annotations
