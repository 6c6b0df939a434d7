"""How a call to Google is made: channels, timeouts, retries, errors, long-running operations."""

from __future__ import annotations
