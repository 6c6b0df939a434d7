"""Read the status: first what can be read although the rest is broken."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ml_platform.cloud.types import RemoteJob
from ml_platform.conf import get_settings
from ml_platform.errors import Misconfigured
from ml_platform.models import snapshot
from ml_platform.services.findings.comparisons.jobs import JOB_KINDS
from ml_platform.services.findings.kinds import kind_of
from ml_platform.services.operations.liveness import Liveness, read_liveness
from ml_platform.services.operations.work import Clock

from .google import ask_google
from .host import database_items, installation_item, settings_item
from .item import State, Status
from .work import job_items, sweep_items, work_items


def read_status(*, clock: Clock, live: bool) -> Status:
    """Read settings and database, and with `live` one call of each of Google's APIs.

    What needs readable settings or applied migrations is left out without them.
    """
    now = clock()
    items = [settings_item(), *database_items()]
    migrated = items[-1].state == State.FINE
    jobs: Collection[RemoteJob] | None = None
    try:
        get_settings()
    except Misconfigured:
        return Status(now=now, live=False, items=items)
    if live:
        said, jobs = ask_google(now=now)
        items += said
    if migrated:
        with snapshot():
            sweeps = list(sweep_items(now))
            believed = any(
                item.name == "sweep_scheduler" and item.state == State.FINE for item in sweeps
            )
            items += [installation_item(), *work_items(read_liveness(now=now)), *sweeps]
            items += job_items(jobs, believed=believed)
    return Status(now=now, live=live, items=items)


def line(found: Liveness, open_findings: Mapping[str, int]) -> tuple[str, ...]:
    """What a page says of the workers and the platform's own jobs; nothing if all is well."""
    jobs = (kind_of(kind).facts.meaning for kind in JOB_KINDS if open_findings.get(kind))
    return tuple(filter(None, (found.stalled or found.behind, *jobs)))
