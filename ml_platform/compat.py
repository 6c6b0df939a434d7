"""What differs between the releases of Django: Tasks are part of it from 6.0 on."""

from __future__ import annotations

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task  # type: ignore[no-redef]  # the stubs are of a newer Django

__all__ = ["task"]
