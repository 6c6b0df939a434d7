"""What the services on Cloud Run did, read from Cloud Monitoring."""

from __future__ import annotations
