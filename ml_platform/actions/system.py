"""Actions on the whole installation: its status, read all planes, set up its scheduled jobs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ml_platform.errors import Denied, NotFound
from ml_platform.jobs import JOBS, Job, set_up
from ml_platform.models import Operation, Sweep
from ml_platform.services.access.rights import Right
from ml_platform.services.importing.context import Entry
from ml_platform.services.importing.importer import import_platform
from ml_platform.services.importing.mapping import PlatformMap
from ml_platform.services.installation.confirm import confirm_installation
from ml_platform.services.scheduling.platform_jobs import JobSetup
from ml_platform.services.sweeps.operation import check_registry, check_registry_here
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.status import Status, read_status

from .action import Action
from .caller import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """What to import; without `write` only look."""

    mapping: PlatformMap
    write: bool


def _registry(caller: Caller, _: object) -> None:
    """Check that the caller is an administrator who sees all projects: the planes belong to all."""
    caller.require(Right.ADMINISTER)
    caller.require_everything()


def may_check(caller: Caller) -> bool:
    """Whether the caller may have all planes read."""
    try:
        _registry(caller, "")
    except Denied:
        return False
    return True


def _job(caller: Caller, key: object) -> Job:
    _registry(caller, key)
    if str(key) not in JOBS:
        raise NotFound(f"There is no job {key}.", advice=f"Jobs: {', '.join(JOBS)}.")
    return JOBS[str(key)]


CHECK: Action[None, Operation] = Action(
    name="check-registry",
    right=Right.ADMINISTER,
    find=_registry,
    run=lambda _, __, caller: check_registry(
        actor=caller.actor, clock=caller.now, idempotency_key=caller.key
    ),
    on_page=False,
)
CHECK_HERE: Action[None, Operation] = replace(
    CHECK, run=lambda _, __, caller: check_registry_here(actor=caller.actor, clock=caller.now)
)
"""The same, finished before it returns."""
SWEEP: Action[None, Sweep] = Action(
    name="check-registry",
    right=Right.ADMINISTER,
    find=_registry,
    run=lambda _, __, caller: sweep(actor=caller.actor, clock=caller.now),
    on_page=False,
)
"""The same without an operation, so that a command also looks beside a check that runs."""
SET_UP_JOB: Action[Job, JobSetup] = Action(
    name="set-up-job",
    right=Right.ADMINISTER,
    find=_job,
    run=lambda job, _, caller: set_up(
        job.name, actor=caller.actor, clock=caller.now, idempotency_key=caller.key
    ),
    on_page=False,
)
STATUS: Action[None, Status] = Action(
    name="platform-status",
    right=Right.ADMINISTER,
    find=_registry,
    run=lambda _, verify, caller: read_status(clock=caller.now, live=verify == "live"),
    on_page=False,
)
"""Read it; with the input `live` Google is asked. It changes nothing, so no history has it."""
CONFIRM: Action[None, Operation] = Action(
    name="confirm-installation",
    right=Right.ADMINISTER,
    find=_registry,
    run=lambda _, __, caller: confirm_installation(
        actor=caller.actor, clock=caller.now, idempotency_key=caller.key
    ),
    on_page=False,
)
IMPORT: Action[None, list[Entry]] = Action(
    name="import-platform",
    right=Right.ADMINISTER,
    find=_registry,
    run=lambda _, given, caller: import_platform(
        mapping=given.mapping, write=given.write, actor=caller.actor, clock=caller.now
    ),
    on_page=False,
)
"""Its input is an ImportRequest: only the command has a mapping file."""
ACTIONS: tuple[Action[Any, Any], ...] = (CHECK, SET_UP_JOB, CONFIRM)
