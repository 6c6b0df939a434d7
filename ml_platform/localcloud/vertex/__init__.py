"""Vertex AI: models, endpoints, pipelines."""

from __future__ import annotations
