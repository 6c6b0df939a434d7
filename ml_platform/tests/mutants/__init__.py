"""Small defects of the product, in files by room, and the program that tries the tests on them."""

from __future__ import annotations

from itertools import chain

from . import between, doors, findings, installation, operations, serving, versions
from .defect import Defect

ROOMS = (between, doors, findings, installation, operations, serving, versions)
ALL: tuple[Defect, ...] = tuple(chain.from_iterable(room.DEFECTS for room in ROOMS))
"""All of them; ids are unique, which `tests/architecture/test_mutants.py` checks."""
