"""What mends a finding, after looking at the very thing again."""

from __future__ import annotations
