"""What the start of a host costs: `manage.py check`, and the memory of a web process at rest."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from . import startup
from .pairs import Figure

GOAL = 1.3
ROUNDS = 15

# As a WSGI server loads a site: the application, then its addresses; nothing was asked yet.
_IDLE = """
import sys
sys.path.insert(0, ".")
from django.core.wsgi import get_wsgi_application
get_wsgi_application()
from django.urls import get_resolver
get_resolver().url_patterns
for line in open("/proc/self/status"):
    if line.startswith("VmRSS"):
        print(int(line.split()[1]) / 1024)
"""


def start_costs() -> Iterator[Figure]:
    """`manage.py check` in CPU seconds, and idle memory, against a bare project's."""
    bare, demo = (median(side) * 1000 for side in zip(*startup.pairs(ROUNDS), strict=True))
    yield Figure(name="start, manage.py check, CPU", ours=demo, theirs=bare, goal=GOAL)
    with tempfile.TemporaryDirectory() as directory:
        start = [sys.executable, "-m", "django", "startproject", "bare", directory]
        subprocess.run(start, check=True)
        bare = _idle(Path(directory), {"DJANGO_SETTINGS_MODULE": "bare.settings"})
    demo = _idle(startup.ROOT, {"DJANGO_SETTINGS_MODULE": "ml_platform.demo.settings"})
    yield Figure(
        name="start, idle web process, memory", ours=demo, theirs=bare, goal=GOAL, unit="MiB"
    )


def _idle(project: Path, variables: Mapping[str, str]) -> float:
    said = subprocess.run(
        [sys.executable, "-c", _IDLE],
        cwd=project,
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(said.stdout)
