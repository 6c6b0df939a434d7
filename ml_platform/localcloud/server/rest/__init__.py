"""The gRPC services by REST."""

from __future__ import annotations
