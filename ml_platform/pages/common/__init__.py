"""What several pages share: buttons, query parameters and the pages of lists."""

from __future__ import annotations
