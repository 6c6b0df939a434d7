"""Both with the same models at one size: made, started, asked in turn, weighed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from statistics import median

from django.db import connection

from ml_platform.tests.benchmarks import ground
from ml_platform.tests.benchmarks.callers import make_caller
from ml_platform.tests.benchmarks.pairs import in_turn
from ml_platform.tests.benchmarks.servers import (
    Client,
    Process,
    free_port,
    gunicorn,
    running,
    wait_for,
)

from . import mlflow
from .cases import API, Case, cases, names
from .results import Row, Run

LEAST = "/api/models/?page_size=1"
LEAST_OF_MLFLOW = f"{API}/registered-models/search?max_results=1"


def measured(database: str, models: int, rounds: int, programs: Path, directory: Path) -> Run:
    """Everything at this size, in a new database of the default connection's server."""
    name = f"peers_{models}"
    folder = directory / name
    folder.mkdir()
    ground.open_database(name)
    ground.fill(models)
    token, _ = make_caller()
    address = mlflow.make_tables(programs, folder)
    print(f"{ground.vendor()}, {models:,} models", flush=True)
    site = {"ML_PLATFORM_TEST_DB_NAME": str(connection.settings_dict["NAME"])}
    connection.close()
    with ExitStack() as stack:

        def served(log: str) -> tuple[Process, Client, float]:
            port = free_port()
            command = gunicorn(port, workers=1, threads=1)
            process = stack.enter_context(running(command, site, folder / f"{log}.log"))
            client = Client(port, {"Authorization": token})
            return process, client, wait_for(process, client, LEAST)

        port = free_port()
        theirs = stack.enter_context(mlflow.serving(programs, address, port, folder))
        their_client = Client(port)
        their_start = wait_for(theirs, their_client, LEAST_OF_MLFLOW)
        ours, our_client, our_start = served("ours")
        _, bare, _ = served("bare")
        idle = (theirs.memory(), ours.memory())
        asked = cases(their_client, our_client, models)
        return Run(
            database=database,
            models=models,
            rows=[_row(case, bare, rounds) for case in asked],
            start=(their_start, our_start),
            idle=idle,
            used=(theirs.memory(), ours.memory()),
        )


def _row(case: Case, bare: Client, rounds: int) -> Row:
    """Ask MLflow, us, and the bare views if there are any, in turn.

    :raises RuntimeError: MLflow and we do not name the same models.
    """
    works = [case.theirs, case.ours]
    if case.query:
        works += [
            lambda: bare.ask("GET", f"/bare/same-statements/?{case.query}"),
            lambda: bare.ask("GET", f"/bare/static/?{case.query}"),
        ]
    if case.same and names(case.theirs()) != names(case.ours()):
        raise RuntimeError(f"{case.name}: MLflow and we name other models.")
    times = in_turn(works, rounds=min(rounds, case.rounds), warm=1)
    theirs, ours, *bares = times
    middles = [median(side) * 1000 for side in times]
    statements, static = middles[2:] or (None, None)
    row = Row(
        name=case.name,
        theirs=middles[0],
        ours=middles[1],
        statements=statements,
        static=static,
        times_as_fast=_ratio(theirs, ours),
        beside_statements=_ratio(ours, bares[0]) if bares else None,
    )
    print(f"  {row.name:44}{''.join(f'{one:10.2f}' for one in middles)} ms", flush=True)
    return row


def _ratio(some: tuple[float, ...], others: tuple[float, ...]) -> float:
    """The median of the ratios of each round."""
    return median(a / b for a, b in zip(some, others, strict=True))
