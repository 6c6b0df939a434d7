"""Defects of the product that a test seeds, to see that the soak reports them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


def _raise(*_: Any, **__: Any) -> None:
    raise TypeError("a defect that a test has seeded")


DEFECTS = {
    "view-raises": "ml_platform.api.models.items_of",
}
"""Name -> the function of the web process that raises instead."""


@contextmanager
def seeded(name: str) -> Iterator[None]:
    """Live with one defect, or with none when it is ''."""
    if not name:
        yield
        return
    with patch(DEFECTS[name], _raise):
        yield
