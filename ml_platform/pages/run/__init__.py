"""What a person may do with a run."""

from __future__ import annotations
