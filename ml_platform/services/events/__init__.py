"""Events: the log of committed changes and recorded refusals."""

from __future__ import annotations
