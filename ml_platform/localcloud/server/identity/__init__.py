"""Tokens, and the metadata server that gives them."""

from __future__ import annotations
