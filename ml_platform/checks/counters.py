"""Whether the database keeps the counters: it has lost no trigger."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage, Warning

from ml_platform.models.counting.install import VENDORS, has_tables, is_installed
from ml_platform.models.database import connection_of


def missing(alias: str) -> Iterator[CheckMessage]:
    """A warning, not an error: `migrate`, which an error would stop, installs them."""
    known = connection_of(alias).vendor in VENDORS
    if known and has_tables(alias) and not is_installed(alias):
        yield Warning(
            f"The database {alias!r} has not the triggers of this release that count models.",
            hint="Until it has, counts may be wrong; the next sweep corrects them. Run "
            "`manage.py migrate`, which installs them and counts anew.",
            id="mlp.W004",
        )
