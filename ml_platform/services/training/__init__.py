"""Runs: create, submit, poll, read their results."""

from __future__ import annotations
