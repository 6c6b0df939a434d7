"""What several pages share: buttons and the query string."""

from __future__ import annotations
