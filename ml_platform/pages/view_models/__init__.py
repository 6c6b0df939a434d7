"""What pages hand to templates: frozen values, their words and shapes, and how rows become them."""

from __future__ import annotations
