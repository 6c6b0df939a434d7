"""Cloud Monitoring."""

from __future__ import annotations
