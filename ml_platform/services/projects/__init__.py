"""Projects: create, rename, their members, archive; and what a host's own Project allows of it."""

from __future__ import annotations
