"""The settings of the soak: short times, so that minutes have what else takes days."""

from __future__ import annotations

from typing import Any

from ml_platform.tests.stateful.ground import tuned

HOST = "127.0.0.1"
CALL_TIMEOUT = 5.0
LEASE = 11
"""Seconds; a lease must be longer than two calls."""


def soaked(grpc_target: str, http_url: str, port: int) -> dict[str, Any]:
    """ML_PLATFORM of every process, for a site that listens on the port."""
    return {
        **tuned(grpc_target, http_url),
        "CALL_TIMEOUT": CALL_TIMEOUT,
        "RETRY_TIMEOUT": 1.0,
        "LEASE_SECONDS": LEASE,
        "UPLOAD_HORIZON": 20,
        "PUBLIC_URL": f"http://{HOST}:{port}/",
        "WEBHOOK_CERTS_URL": f"{http_url}/oauth2/v1/certs",
    }
