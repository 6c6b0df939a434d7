"""Django's admin: windows on every table that change nothing, and projects.

Django imports it only where a host has installed `django.contrib.admin`.
"""

from __future__ import annotations

from . import projects, windows

__all__ = ["projects", "windows"]
