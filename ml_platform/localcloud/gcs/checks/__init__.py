"""What a request may ask, and what is refused: rules without state."""

from __future__ import annotations
