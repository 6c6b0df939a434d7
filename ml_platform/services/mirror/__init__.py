"""The mirror: what the planes listed, what we changed in it, and when a plane is not believed."""

from __future__ import annotations
