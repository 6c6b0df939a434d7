"""Registry health: findings and their repairs."""

from __future__ import annotations
