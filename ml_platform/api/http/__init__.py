"""What every request meets: authentication, errors, idempotency, pagination, the contract."""

from __future__ import annotations
