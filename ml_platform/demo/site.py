"""The demo's site: a WSGI server, a task worker, and what follows the cloud, each in a thread."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
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
"""Seconds between two looks for tasks."""
FOLLOW_PAUSE = 2.0
"""Seconds between two looks at what runs on the cloud."""
LAST_TASK = 10.0
"""Seconds a task that runs has to come to its end."""


@contextmanager
def bound_server(*, port: int) -> Iterator[ThreadedWSGIServer]:
    """A server that holds the port and does not answer yet; 0 takes a free port.

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
def serving(server: ThreadedWSGIServer) -> Iterator[str]:
    """Answer requests, static files included, until the end; gives the site's URL."""
    from .wsgi import application  # builds the site, so not before the settings stand

    # A line for each request would bury the one that says how to log in.
    logging.getLogger("django.server").setLevel(logging.ERROR)
    server.set_app(application)
    thread = Thread(target=server.serve_forever, name="site", daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def working() -> Iterator[None]:
    """Run tasks until the end, as `manage.py db_worker` would in a process of its own."""
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

    def work() -> None:
        try:
            worker.run()
        finally:
            connections.close_all()

    thread = Thread(target=work, name="worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.running = False
        thread.join(LAST_TASK)


@contextmanager
def following(*, actor: Actor, pause: float = FOLLOW_PAUSE) -> Iterator[None]:
    """Follow runs and operations until the end, as a host's cron does each minute.

    Also looks at Vertex AI anew when a version was registered, so that the counts keep up.
    """
    over = Event()

    def follow() -> None:
        try:
            while not over.wait(pause):
                _look(actor)
        finally:
            connections.close_all()

    thread = Thread(target=follow, name="follower", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(LAST_TASK)


def _look(actor: Actor) -> None:
    """One failure is told, and the next look tries again."""
    try:
        close_old_connections()
        poll_training_runs(actor=actor, clock=database_now)
        resume_operations(clock=database_now)
        swept = Sweep.objects.order_by("-id").first()
        newer = TrainingRun.objects.versions()
        if swept is not None and newer.filter(registered_at__gt=swept.started_at).exists():
            sweep(actor=actor, clock=database_now)
    except (PlatformError, ExceptionGroup, *DATABASE_FAILURES):
        logging.getLogger(__name__).exception("A look at the cloud failed")
