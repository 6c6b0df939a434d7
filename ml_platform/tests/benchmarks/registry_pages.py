"""`python -m ml_platform.tests.benchmarks.registry_pages`: the local cloud's lists of models.

Two processes page at once through a local cloud of 100,000 models in a third one. It prints what
a page of 100 takes and exits 1 when the median of a kind of page is not under 50 ms.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

GOAL_MS = 50.0
MODELS, PAGES, CLIENTS = 100_000, 40, 2
PARENT = "projects/demo-project/locations/europe-central2"
DEEP, TO_DEEP = "behind 30,000", 100
KINDS: dict[str, dict[str, str]] = {
    "no filter": {},
    DEEP: {},
    "label of half": {"filter": "labels.team=red"},
    "label of one in 200": {"filter": "labels.bucket=b7"},
    "two labels": {"filter": "labels.team=red AND labels.bucket=b7"},
    "label by name": {"filter": "labels.team=red", "order_by": "display_name"},
    "newest first": {"order_by": "create_time desc"},
}


def main(arguments: list[str]) -> int:
    """Seed, run the clients, print; 0 when the goal is met."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.benchmarks.registry_pages")
    parser.add_argument("--models", type=int, default=MODELS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ask", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        _serve(options.models)
        return 0
    if options.ask:
        print(json.dumps(_ask(options.ask)))
        return 0
    return _compare(options.models)


def _serve(models: int) -> None:
    from ml_platform.localcloud import LocalCloud  # the clients need none of it

    with LocalCloud() as cloud:
        before, begin = _megabytes(), time.perf_counter()
        for number in range(models):
            team = "red" if number % 2 else "blue"
            cloud.models.seed(
                f"mr-{number}",
                display_name=f"model-{number % 9973}",
                labels={"owner": "tests", "team": team, "bucket": f"b{number % 200}"},
            )
        seconds = time.perf_counter() - begin
        print(cloud.grpc_target, f"{seconds:.1f}", before, _megabytes(), flush=True)
        begin = time.process_time()
        sys.stdin.read()
        print(f"{time.process_time() - begin:.3f}", flush=True)


def _ask(target: str) -> dict[str, list[float]]:
    """Milliseconds of each page, by kind."""
    import grpc
    from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

    channel = grpc.insecure_channel(target)
    transport = ModelServiceClient.get_transport_class("grpc")(channel=channel)
    client = ModelServiceClient(transport=transport)
    return {kind: list(_pages(client, kind)) for kind in KINDS}


def _pages(client: Any, kind: str) -> Iterator[float]:
    asked = {"parent": PARENT, "page_size": 100} | KINDS[kind]
    token = ""
    if kind == DEEP:
        for _ in range(TO_DEEP):
            deeper = asked | {"page_size": 300, "page_token": token}
            token = client.list_models(deeper).next_page_token
    for _ in range(PAGES):
        begin = time.perf_counter()
        token = client.list_models(asked | {"page_token": token}).next_page_token
        yield 1000 * (time.perf_counter() - begin)


def _compare(models: int) -> int:
    module = [sys.executable, "-m", __spec__.name]
    server = subprocess.Popen(
        [*module, "--serve", "--models", str(models)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        target, seconds, before, after = server.stdout.readline().split()
        print(f"{models:,} models seeded in {seconds} s; {before} MB became {after} MB")
        clients = [
            subprocess.Popen([*module, "--ask", target], stdout=subprocess.PIPE, text=True)
            for _ in range(CLIENTS)
        ]
        told = [json.loads(client.communicate(timeout=600)[0]) for client in clients]
    finally:
        server.stdin.close()
        busy = float(server.stdout.read() or 0)
        server.wait(timeout=30)
    pages = CLIENTS * len(KINDS) * PAGES + CLIENTS * TO_DEEP * 3
    print(f"{1000 * busy / pages:.1f} ms of the local cloud's CPU time for 100 models of a page")
    return max(_judge(kind, [ms for one in told for ms in one[kind]]) for kind in KINDS)


def _judge(kind: str, pages: list[float]) -> int:
    median, worst = statistics.median(pages), statistics.quantiles(pages, n=20)[-1]
    missed = median >= GOAL_MS
    print(
        f"{'MISSED' if missed else 'ok':7}{kind:26} "
        f"least {min(pages):6.1f} ms, median {median:6.1f} ms, 95% {worst:6.1f} ms"
    )
    return int(missed)


def _megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
