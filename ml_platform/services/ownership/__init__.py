"""Which resources on Google Cloud are ours: labels, identification, names that we made."""

from __future__ import annotations
