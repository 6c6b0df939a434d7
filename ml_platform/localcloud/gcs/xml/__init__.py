"""The XML API of Cloud Storage for what signed URLs do: read, list, write and delete objects."""

from __future__ import annotations
