"""Looking at the local cloud and ordering faults: console and control API."""

from __future__ import annotations
