"""What every list of Google's has: filters and pages."""

from __future__ import annotations
