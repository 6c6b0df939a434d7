"""What can happen to an object, by the names that notifications have for it."""

from __future__ import annotations

FINALIZE, UPDATE, DELETE, ARCHIVE = EVENTS = (
    "OBJECT_FINALIZE",
    "OBJECT_METADATA_UPDATE",
    "OBJECT_DELETE",
    "OBJECT_ARCHIVE",
)
