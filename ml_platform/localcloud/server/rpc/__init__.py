"""The gRPC port, and the services that all APIs share."""

from __future__ import annotations
