"""Kinds of finding that a sweep of the Vertex AI endpoints makes."""

from __future__ import annotations

from .kind import SWEPT, Facts, Kind


class VertexEndpointKinds:
    """Kinds of finding that a sweep of the Vertex AI endpoints makes."""

    VERTEX_ENDPOINT_UNREGISTERED = Kind(
        "vertex_endpoint_unregistered",
        Facts(
            label="Unregistered at an endpoint",
            meaning="A Vertex AI endpoint serves a version of our model that is not registered.",
            note=("{n} unregistered at an endpoint", "{n} unregistered at endpoints"),
            tone="bad",
            plane="vertex_endpoints",
            comparison=f"{SWEPT}.vertex_endpoints.compare_vertex_endpoints",
        ),
    )
