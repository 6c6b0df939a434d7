"""Rows that are not saved, for comparisons that only read them."""

from __future__ import annotations

from copy import copy
from typing import Any, TypeVar

from django.db.models import Model

M = TypeVar("M", bound=Model)


def changed(row: M, **fields: Any) -> M:
    """Return a copy of the row with other values, as `dataclasses.replace`."""
    other = copy(row)
    for name, value in fields.items():
        setattr(other, name, value)
    return other
