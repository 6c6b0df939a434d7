"""Serve versions on Cloud Run: deploy, roll out, undeploy."""

from __future__ import annotations
