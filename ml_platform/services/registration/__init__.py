"""A run becomes a version: upload, register, adopt."""

from __future__ import annotations
