"""What a host costs: `manage.py check`, and the memory of a web process, at rest and at work."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from django.db import connection

from . import startup
from .ground import fill, open_database
from .pages import Site
from .pairs import Figure
from .served import LISTS, PAGES, serve

GOAL = 1.3
ROUNDS = 15
MOST = 110.0
"""MiB that a web process may hold which needs nothing of Google."""
MODELS = 10_000
BARE = ("/admin/login/",)


def start_costs(database: str) -> Iterator[Figure]:
    """`manage.py check` in CPU seconds, and a web process's memory, against a bare project's."""
    bare, demo = (median(side) * 1000 for side in zip(*startup.pairs(ROUNDS), strict=True))
    yield Figure(name="start, manage.py check, CPU", ours=demo, theirs=bare, goal=GOAL)
    with tempfile.TemporaryDirectory() as directory:
        start = [sys.executable, "-m", "django", "startproject", "bare", directory]
        subprocess.run(start, check=True)
        own = {"DJANGO_SETTINGS_MODULE": "bare.settings"}
        bare, served = (serve(paths, Path(directory), own, {})["MiB"] for paths in ((), BARE))
    demo = serve((), startup.ROOT, {}, {})["MiB"]
    yield Figure(
        name="start, idle web process, memory", ours=demo, theirs=bare, goal=GOAL, unit="MiB"
    )
    yield _at_work(f"{database}-start", served)


def _at_work(database: str, bare: float) -> Figure:
    """A web process that served the pages, the lists and the contract, against what it may hold."""
    open_database(database)
    fill(MODELS)
    site = Site()
    site.log_in(database)
    variables = {"ML_PLATFORM_TEST_DB_NAME": str(connection.settings_dict["NAME"])}
    told = serve((*PAGES, *LISTS), startup.ROOT, variables, site.headers[database])
    modules = f"{len(told['google'])} modules of Google's"
    return Figure(
        name="start, web process that served pages and lists",
        ours=told["MiB"],
        theirs=MOST,
        goal=1.0,
        unit="MiB",
        note=f"bare Django that served a page: {bare:.0f} MiB; {modules}",
    )
