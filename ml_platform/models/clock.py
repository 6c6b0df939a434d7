"""The clock of the database, so that all machines measure ages and leases by the same one."""

from __future__ import annotations

from datetime import UTC, datetime

from .database import write_connection


def database_now() -> datetime:
    """The time of the database, aware, in UTC."""
    connection = write_connection()
    sql = {
        "postgresql": "SELECT clock_timestamp()",
        "sqlite": "SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(sql)
        value = cursor.fetchone()[0]
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(UTC)


def past(stored: str, *, now: datetime) -> datetime:
    """Return a time that we stored in a state, but `now` if a clock that was ahead wrote it."""
    return min(datetime.fromisoformat(stored), now)
