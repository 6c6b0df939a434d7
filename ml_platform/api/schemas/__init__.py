"""What the API takes and answers: types, examples, serializers."""

from __future__ import annotations
