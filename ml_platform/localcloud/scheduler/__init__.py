"""Cloud Scheduler."""

from __future__ import annotations
