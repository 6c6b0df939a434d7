"""The training page of a project, and its forms."""

from __future__ import annotations
