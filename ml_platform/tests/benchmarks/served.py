"""`python -m ml_platform.tests.benchmarks.served [path ...]`: what a web process holds.

It loads the site as a WSGI server does and asks for the paths in turn. `serve` starts it; bare
Django is weighed by the same program.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
HEADERS = "ML_PLATFORM_BENCHMARK_HEADERS"
GOOGLE = {"google", "googleapiclient", "grpc", "grpc_status", "proto", "requests", "urllib3"}
PAGES = (
    "/",
    "/projects/1/training/",
    "/projects/1/training/new-run/",
    "/projects/1/training/new-schedule/",
    "/models/1/",
    "/registry-health/",
    "/operations/",
)
LISTS = (
    "/api/models/?page_size=100",
    "/api/models/1/",
    "/api/models/1/versions/",
    "/api/training-runs/",
    "/api/deployed-endpoints/",
    "/api/training/schedules/",
    "/api/operations/",
    "/api/audit/",
    "/api/projects/",
    "/api/system/kpis/",
    "/api/system/status/",
    "/api/openapi.json",
    "/api/docs",
)
"""What needs nothing of Google, of a database with a project 1 and a model 1."""


def ask(app: Callable[..., Any], path: str, query: str, headers: Mapping[str, str]) -> bytes:
    """The body of the answer to a GET, asked as a WSGI server does.

    :raises RuntimeError: it is not 200.
    """
    statuses: list[str] = []

    def begin(status: str, headers: Any, exc_info: Any = None) -> Any:
        statuses.append(status)

    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        **headers,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
    }
    answer = app(environ, begin)
    body = b"".join(answer)
    answer.close()
    if not statuses[0].startswith("200"):
        raise RuntimeError(f"{path}?{query}: {statuses[0]} {body[:500]!r}")
    return body


def serve(
    paths: Sequence[str], project: Path, variables: Mapping[str, str], headers: Mapping[str, str]
) -> dict[str, Any]:
    """Its MiB after the paths were served in a process of its own, and its modules of Google's."""
    said = subprocess.run(
        [sys.executable, "-m", __name__, *paths],
        cwd=project,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            HEADERS: json.dumps(dict(headers)),
            **variables,
        },
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    told: dict[str, Any] = json.loads(said.stdout)
    return told


def main(paths: Sequence[str]) -> None:
    """Serve the paths and print what `serve` returns."""
    before = set(sys.modules)  # a .pth file of Google's makes empty namespaces
    from django.core.wsgi import get_wsgi_application
    from django.urls import get_resolver

    app = get_wsgi_application()
    assert get_resolver().url_patterns
    headers = json.loads(os.environ.get(HEADERS, "{}"))
    for path in paths:
        where, _, query = path.partition("?")
        ask(app, where, query, headers)
    loaded = sorted(name for name in set(sys.modules) - before if name.split(".")[0] in GOOGLE)
    print(json.dumps({"MiB": _megabytes(), "google": loaded}))


def _megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main(sys.argv[1:])
