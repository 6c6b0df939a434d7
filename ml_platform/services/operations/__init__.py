"""Operations: their record, the engine and worker that run them, retry and cancel."""

from __future__ import annotations
