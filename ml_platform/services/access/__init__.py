"""Who may do what, and which projects a user sees."""

from __future__ import annotations
