"""The host with a primary and a replica, as in Django's documentation, whose replica lags."""

from __future__ import annotations

from typing import Any

from ml_platform.tests.host.settings import *  # noqa: F403 - settings are a module's names
from ml_platform.tests.host.settings import DATABASES as _ONE

_PRIMARY = _ONE["default"]
DATABASES = {
    "default": {},
    "primary": _PRIMARY,
    "replica": {**_PRIMARY, "NAME": f"{_PRIMARY['NAME']}_replica"},
}
DATABASE_ROUTERS = [f"{__name__}.PrimaryReplicaRouter"]


class PrimaryReplicaRouter:
    """Every read goes to the replica, every write to the primary."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        """Return the alias for a read."""
        return "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        """Return the alias for a write."""
        return "primary"

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        """Rows of both are rows of one database."""
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        """The replica copies what the primary has."""
        return db == "primary"
