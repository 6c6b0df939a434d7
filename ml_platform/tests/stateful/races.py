"""What processes do in a race: ask at the same moment, then all work until nothing is left."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db import connection

from ml_platform.errors import PlatformError
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deployment.deploy import deploy_run
from ml_platform.services.deployment.undeploy import undeploy_endpoint
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.registration.register import register_run

from .world import BO

SECONDS = 60


def _register(run: int) -> None:
    register_run(run=TrainingRun.objects.get(pk=run), actor=BO, now=database_now())


def _delete(run: int) -> None:
    doomed = TrainingRun.objects.get(pk=run)
    lineage = RegisteredModel.objects.get(training_runs=doomed)
    delete_versions(lineage=lineage, runs=[doomed], actor=BO, now=database_now())


def _deploy(run: int) -> None:
    name = "shared-by-all"
    run_row = TrainingRun.objects.get(pk=run)
    deploy_run(run=run_row, service_name=name, actor=BO, now=database_now())


def _undeploy(run: int) -> None:
    endpoint = DeployedEndpoint.objects.get(run=run)
    undeploy_endpoint(endpoint=endpoint, actor=BO, now=database_now())


VERBS: Mapping[str, Callable[[int], None]] = {
    "register": _register,
    "delete": _delete,
    "deploy": _deploy,
    "undeploy": _undeploy,
}


def take_part(part: Mapping[str, Any], starts: Sequence[int], pipe: int) -> None:
    """One process's part. `starts` are pipes whose end is the signal; it never returns."""
    ask, work = starts
    try:
        connection.ensure_connection()
        _tell(pipe, "ready")
        os.read(ask, 1)
        try:
            VERBS[part["verb"]](part["run"])
            answer = "ok"
        except PlatformError as refusal:
            answer = refusal.code
        _tell(pipe, "answered")
        os.read(work, 1)
        _work()
        _tell(pipe, answer)
    except BaseException:  # noqa: BLE001 - a forked child must not return into its parent
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def _work() -> None:
    until = time.monotonic() + SECONDS
    while Operation.objects.live().exists():
        if time.monotonic() > until:
            raise TimeoutError(list(Operation.objects.live().values("kind", "step", "error")))
        if not resume_operations(clock=database_now):
            time.sleep(0.02)


def _tell(pipe: int, what: str) -> None:
    os.write(pipe, f"{what}\n".encode())
