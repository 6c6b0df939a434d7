"""What every call of the JSON API has around it."""

from __future__ import annotations
