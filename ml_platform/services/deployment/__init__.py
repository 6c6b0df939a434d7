"""A version is served on Cloud Run: deploy, roll out, undeploy."""

from __future__ import annotations
