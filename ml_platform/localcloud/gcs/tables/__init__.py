"""What Cloud Storage keeps, in the store's file."""

from __future__ import annotations
