"""A process that has imported everything and connected to nothing; its children are forked.

It reads a line of JSON for each child and answers two: the child's id, then how it ended. A race
is one line for several children, answered by what each of them was told.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from .ground import DROP, begin, tuned

IMPORTED = (
    "google.auth.credentials",
    "google.cloud.aiplatform_v1.services.endpoint_service",
    "google.cloud.aiplatform_v1.services.model_service",
    "google.cloud.aiplatform_v1.services.pipeline_service",
    "google.cloud.run_v2.services.services",
    "google.cloud.scheduler_v1.services.cloud_scheduler",
    "google.cloud.storage",
    "grpc_status.rpc_status",
    "ml_platform.services.workflows",
)


class Child:
    """A process in a cloud that is elsewhere."""

    def __init__(self, control: str, now: str) -> None:
        self._control, self._now = control, datetime.fromisoformat(now)

    def now(self) -> datetime:
        """The time, which stands still unless this child moves it."""
        return self._now

    def forward(self, seconds: float) -> None:
        """Move the cloud's time and ours."""
        body = json.dumps({"advance": seconds}).encode()
        url = f"{self._control}/_localcloud/clock"
        with urllib.request.urlopen(url, body, timeout=20):  # noqa: S310 - our own cloud
            self._now += timedelta(seconds=seconds)


def main() -> None:
    """Serve until the other end of the pipe is closed."""
    begin(os.environ.get("ML_PLATFORM_TEST_DB", "sqlite"))
    from django.conf import settings

    control = os.environ["ML_PLATFORM_LOCAL_CLOUD_HTTP"]
    settings.ML_PLATFORM = tuned(os.environ["ML_PLATFORM_LOCAL_CLOUD"], control)
    for module in IMPORTED:
        import_module(module)
    from ml_platform.services.operations import work

    from . import mutants, races, scenarios  # noqa: F401 - so that no child imports them

    # That the database fails is meant; it need not be told at each point.
    logging.getLogger(work.log.name).addHandler(logging.NullHandler())

    _say({"ready": True})
    for line in sys.stdin:
        order = json.loads(line)
        if "race" in order:
            _say({"said": _race(order["race"])})
        else:
            _kill_one(order, control)


def _kill_one(order: dict[str, Any], control: str) -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        _live_and_die(order, control, writing)
    os.close(writing)
    _say({"pid": pid})
    with os.fdopen(reading) as pipe:
        report = pipe.read()
    _, status = os.waitpid(pid, 0)
    _say({"code": os.waitstatus_to_exitcode(status), "report": json.loads(report or "[]")})


def _race(parts: list[dict[str, Any]]) -> list[str]:
    """Let all ask at the same moment, and then, when all were answered, all work; who fails to
    come to an end says nothing."""
    from .races import take_part

    starts = [os.pipe() for _ in ("ask", "work")]
    answers = []
    pids = []
    for part in parts:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            for _, end in starts:
                os.close(end)  # so that the end of the start is seen
            take_part(part, [start for start, _ in starts], writing)
        os.close(writing)
        answers.append(os.fdopen(reading))
        pids.append(pid)
    said = []
    for start, end in starts:
        for answer in answers:
            answer.readline()  # each is ready, then each was answered
        os.close(end)
        os.close(start)
    for pid, answer in zip(pids, answers, strict=True):
        said.append(answer.readline().strip())
        answer.close()
        os.waitpid(pid, 0)
    return said


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _live_and_die(order: dict[str, Any], control: str, pipe: int) -> None:
    """Act, and meet the trouble of this way at boundary `at` (0: none); who lives writes down the
    boundaries they passed."""
    from django.db import InterfaceError, OperationalError

    from ml_platform.errors import CloudUnavailable

    from .mutants import seeded
    from .scenarios import SCENARIOS

    answered_503 = (OperationalError, InterfaceError, CloudUnavailable)
    """By the door through which the verb was asked for."""
    passed: list[str] = []
    watch, before, after = _way(order["way"])

    def boundary(name: str, trouble: Callable[[], None]) -> None:
        passed.append(name)
        if len(passed) == order["at"]:
            trouble()

    hands = Child(control, order["now"])
    try:
        with (
            seeded(order["mutant"]),
            watch(
                before=lambda name: boundary(f"before {name}", before),
                after=lambda name: boundary(f"after {name}", after),
            ),
            suppress(*(answered_503 if order["way"] == DROP else ())),
        ):
            SCENARIOS[order["scenario"]].act(hands, order["facts"])
        os.write(pipe, json.dumps(passed).encode())
    except BaseException:  # noqa: BLE001 - a forked child must not return into its parent
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def _way(way: str) -> tuple[Any, Callable[[], None], Callable[[], None]]:
    """Where it may be met, and what is met there: before and after."""
    from ml_platform.tests.boundaries import statements, watched
    from ml_platform.tests.connections import end_connection, lose_answer

    if way == DROP:
        return statements, end_connection, lose_answer
    return watched, _die, _die


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
