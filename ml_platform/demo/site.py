"""The demo's site: a WSGI server, a task worker, and updates of runs, each in a thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread

from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.db import close_old_connections, connections
from django_tasks_db.management.commands.db_worker import Worker

from ml_platform.errors import PlatformError
from ml_platform.guard import DATABASE_FAILURES
from ml_platform.models import Sweep, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.services.training.polling import poll_training_runs

from .world import PortTaken

HOST = "127.0.0.1"
WORKER_PAUSE = 0.5
"""Seconds between two searches for tasks."""
FOLLOW_PAUSE = 2.0
"""Seconds between two updates of runs and operations."""
LAST_TASK = 10.0
"""Seconds that a running task has to end."""


@contextmanager
def bound_server(*, port: int) -> Iterator[ThreadedWSGIServer]:
    """Give a server that has the port and does not answer yet; 0 takes a free port.

    :raises PortTaken: the port is busy.
    """
    try:
        server = ThreadedWSGIServer((HOST, port), WSGIRequestHandler)
    except OSError as error:
        raise PortTaken(
            f"Cannot listen on {HOST}:{port}: {error.strerror}.",
            advice="Choose another with --port.",
        ) from error
    try:
        yield server
    finally:
        server.server_close()


@contextmanager
def _running(name: str, target: Callable[[], object], stop: Callable[[], object]) -> Iterator[None]:
    """Run `target` in a thread until the block ends; `stop` makes it return."""

    def run() -> None:
        try:
            target()
        finally:
            connections.close_all()

    thread = Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(LAST_TASK)


@contextmanager
def serving(server: ThreadedWSGIServer) -> Iterator[str]:
    """Answer requests, also for static files, until the block ends; gives the site's URL."""
    from .wsgi import application  # builds the site, so only after the settings are complete

    # A line for each request would hide the line with the login.
    logging.getLogger("django.server").setLevel(logging.ERROR)
    server.set_app(application)
    with _running("site", server.serve_forever, server.shutdown):
        yield f"http://{HOST}:{server.server_port}/"


def working() -> AbstractContextManager[None]:
    """Run tasks until the block ends, as `manage.py db_worker` does in a separate process."""
    worker = Worker(
        queue_names=["default"],
        interval=WORKER_PAUSE,
        batch=False,
        backend_name="default",
        startup_delay=False,
        max_tasks=None,
        worker_id="demo",
        excluded_queue_names=[],
    )

    def stop() -> None:
        worker.running = False

    return _running("worker", worker.run, stop)


def following(*, actor: Actor, pause: float = FOLLOW_PAUSE) -> AbstractContextManager[None]:
    """Update runs and operations until the block ends, as a host's cron does each minute.

    Also sweeps when a version was registered since the last sweep, so that the counts are current.
    """
    over = Event()

    def follow() -> None:
        while not over.wait(pause):
            _update(actor)

    return _running("follower", follow, over.set)


def _update(actor: Actor) -> None:
    """Log a failure; the next call tries again."""
    try:
        close_old_connections()
        poll_training_runs(actor=actor, clock=database_now)
        resume_operations(clock=database_now)
        swept = Sweep.objects.order_by("-id").first()
        newer = TrainingRun.objects.versions()
        if swept is not None and newer.filter(registered_at__gt=swept.started_at).exists():
            sweep(actor=actor, clock=database_now)
    except (PlatformError, ExceptionGroup, *DATABASE_FAILURES):
        logging.getLogger(__name__).exception("Runs and operations could not be updated")
