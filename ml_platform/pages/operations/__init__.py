"""What was done, by whom, step by step."""

from __future__ import annotations
