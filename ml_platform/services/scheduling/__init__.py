"""Training schedules and the platform jobs, as Cloud Scheduler jobs."""

from __future__ import annotations
