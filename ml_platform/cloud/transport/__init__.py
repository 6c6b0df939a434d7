"""Calls to Google: channels, timeouts, retries, errors, long-running operations."""

from __future__ import annotations
