"""The wire: HTTP and gRPC servers, TLS, identity, metadata, policies."""

from __future__ import annotations
