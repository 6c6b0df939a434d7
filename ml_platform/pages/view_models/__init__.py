"""What pages pass to templates: frozen values, and the functions that make them from rows."""

from __future__ import annotations
