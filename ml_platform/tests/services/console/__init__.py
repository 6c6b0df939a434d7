"""What people do at Google past the platform: a row for each method that changes something."""

from __future__ import annotations
