"""A process of one release: it reads a line of JSON for each request, and answers with one.

It is run as a file by the code of either release, so it uses only what both have, and imports
nothing of the tests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402 - apps first
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402

from ml_platform.models import Finding, Operation, Project  # noqa: E402
from ml_platform.models.clock import database_now  # noqa: E402
from ml_platform.services.operations.engine import advance  # noqa: E402
from ml_platform.services.operations.store import Actor, due_operations  # noqa: E402
from ml_platform.services.sweeps.sweep import sweep  # noqa: E402
from ml_platform.services.training.polling import poll_training_runs  # noqa: E402
from ml_platform.services.workflows import WORKFLOWS  # noqa: E402

WORKER = Actor(label="releases", origin="command")
client = Client(raise_request_exception=False)
ahead = timedelta()
"""How far the clock of the local cloud has been moved; ours goes with it."""


def clock() -> datetime:
    return database_now() + ahead


def migrate() -> None:
    call_command("migrate", verbosity=0)


def sign_in() -> None:
    users = get_user_model().objects
    client.force_login(users.filter(username="ana").first() or users.create_superuser("ana"))


def project(name: str) -> int:
    made: int = Project.objects.create(name=name).pk
    return made


def ask(method: str, path: str, body: Any = None, key: str = "") -> list[Any]:
    """Status and body of an answer; of a page only whether it was made."""
    headers = {"Idempotency-Key": key} if key else {}
    answer = client.generic(
        method, path, json.dumps(body) if body is not None else "", "application/json",
        headers=headers,
    )  # fmt: skip
    return [answer.status_code, answer.json() if "json" in answer["Content-Type"] else None]


def work(steps: int | None = None) -> list[str]:
    """Advance each operation that is due, by so many steps; returns the slugs of those moved."""
    moved = []
    for key in due_operations(now=clock(), limit=100):
        operation = advance(operation_id=key, workflows=WORKFLOWS, clock=clock, steps=steps)
        moved += [operation.workflow] if operation else []
    return moved


def poll() -> None:
    poll_training_runs(actor=WORKER, clock=clock)


def look() -> dict[str, Any]:
    """What a sweep finds."""
    done = sweep(actor=WORKER, clock=clock)
    found = Finding.objects.filter(status="open").values_list("kind", "subject", "title")
    return {"status": done.status, "findings": sorted(found)}


def operations() -> list[dict[str, Any]]:
    """All operations: what each is, how it stands, and why."""
    columns = (
        "workflow", "status", "step", "steps", "error_code", "error", "subject_name",
    )  # fmt: skip
    return list(Operation.objects.order_by("created_at").values(*columns))


REQUESTS: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (migrate, sign_in, project, ask, work, poll, look, operations)
}


def main() -> None:
    """Answer until the other end is closed."""
    global ahead
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        asked = json.loads(line)
        ahead = timedelta(seconds=asked["ahead"])
        try:
            answer = {"answer": REQUESTS[asked["what"]](**asked["words"])}
        except Exception as error:  # noqa: BLE001 - it is told to who asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, default=str), file=answers, flush=True)


if __name__ == "__main__":
    main()
