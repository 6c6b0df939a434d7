"""Registered models, their runs, versions and schedules."""

from __future__ import annotations
