"""Buckets with their settings, policies and notifications."""

from __future__ import annotations
