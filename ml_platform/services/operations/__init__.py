"""Operations: the record, the engine, the worker that wakes it, retry and cancel."""

from __future__ import annotations
