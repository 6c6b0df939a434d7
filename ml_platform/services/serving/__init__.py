"""The service of an endpoint on Cloud Run: what we write to it, read from it, and wait for."""

from __future__ import annotations
