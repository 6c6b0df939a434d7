"""A process that has imported everything and connected to nothing; web server, workers and
commands are forked from it, so that one that was killed is back at once.

It reads a line of JSON for each child, answers its id, and says how each child has ended.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from ml_platform.tests.stateful.ground import begin
from ml_platform.tests.stateful.zygote import IMPORTED

from .installation import soaked

ALSO_IMPORTED = (
    "django_tasks_db.management.commands.db_worker",
    "google.cloud.monitoring_v3.services.metric_service",
    "google.cloud.run_v2.services.revisions",
    "ml_platform.demo.site",
    "ml_platform.api.api",
    "ml_platform.jobs",
    "ml_platform.management.report",
)


def web(port: str, defect: str) -> None:
    """Serve the demo host's WSGI application, as `manage.py demo` does."""
    from ml_platform.demo import site

    from .defects import seeded

    with seeded(defect), site.bound_server(port=int(port)) as server, site.serving(server):
        signal.sigwait({signal.SIGTERM})


def command(*words: str) -> None:
    """Run a management command, with its own exit code."""
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", *words])


ROLES: Mapping[str, Callable[..., None]] = {"web": web, "command": command}


class Nursery:
    """The children that live."""

    def __init__(self) -> None:
        self._children: set[int] = set()

    def serve(self) -> None:
        """Serve until the other end of the pipe is closed; then no child is left."""
        _say({"ready": True})
        pipe = os.fdopen(0, "rb", buffering=0)  # `select` sees all that is not yet read
        try:
            while True:
                self._bury()
                if not select.select([pipe], [], [], 0.05)[0]:
                    continue
                if not (line := pipe.readline()):
                    return
                self._begin(**json.loads(line))
        finally:
            for pid in self._children:
                os.kill(pid, signal.SIGKILL)

    def _begin(self, role: str, words: list[str], log: str) -> None:
        pid = os.fork()
        if not pid:
            _live(role, words, log)
        self._children.add(pid)
        _say({"pid": pid})

    def _bury(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._children.discard(pid)
            _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _live(role: str, words: list[str], log: str) -> None:
    """Be that child until it ends; it never returns."""
    code = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for own, new in ((0, nothing), (1, file), (2, file)):
            os.dup2(new, own)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM} if role == "web" else set())
        ROLES[role](*words)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - a forked child must not return into its parent
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _say(what: dict[str, Any]) -> None:
    os.write(1, f"{json.dumps(what)}\n".encode())


def main(port: str) -> None:
    """Import everything, then serve."""
    # Its parent ends it by closing the pipe; a Ctrl-C of the terminal reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begin("postgresql")
    import logging.config

    from django.conf import settings

    from ml_platform.demo.settings import LOGGING

    settings.LOGGING = LOGGING  # the WSGI application sets Django up once more
    logging.config.dictConfig(LOGGING)
    target = os.environ["ML_PLATFORM_LOCAL_CLOUD"]
    http = os.environ["ML_PLATFORM_LOCAL_CLOUD_HTTP"]
    settings.ML_PLATFORM = soaked(target, http, int(port))
    for module in (*IMPORTED, *ALSO_IMPORTED):
        import_module(module)
    Nursery().serve()


if __name__ == "__main__":
    main(sys.argv[1])
