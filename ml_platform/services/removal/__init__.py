"""Removal of files: the guard of every deletion, and the folders that await theirs."""

from __future__ import annotations
