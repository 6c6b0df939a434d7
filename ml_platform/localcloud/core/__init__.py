"""What every emulated service uses: state, clock, names, operations, faults, call log."""

from __future__ import annotations
