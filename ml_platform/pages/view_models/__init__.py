"""What pages pass to templates: plain values, and the functions that make them from rows."""

from __future__ import annotations
