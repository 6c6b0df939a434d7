"""A run becomes a version: upload and registration; adoption of models that others created."""

from __future__ import annotations
