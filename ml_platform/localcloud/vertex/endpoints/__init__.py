"""EndpointService and PredictionService."""

from __future__ import annotations
