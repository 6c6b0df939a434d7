"""A sweep reads every plane once and compares it with our rows."""

from __future__ import annotations
