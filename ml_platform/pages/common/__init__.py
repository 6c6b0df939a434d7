"""What several pages share: view models, badges, buttons, charts, lists."""

from __future__ import annotations
