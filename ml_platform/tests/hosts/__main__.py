"""`python -m ml_platform.tests.hosts [NAME...]`: the table host x check; 1 if one of them fails."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psycopg

from ml_platform.tests.postgres import USER, postgres_host
from ml_platform.tests.wheels import build_wheel, make_environment

from .checks import CHECKS, Visitor
from .host import Failed, Host, Kind
from .incident import incident
from .kinds import PLAIN, replica, shop
from .page import ROOT

KINDS: dict[str, Callable[[], Kind]] = {
    "plain": lambda: PLAIN,
    "shop": shop,
    "replica": replica,
    "incident": incident,
}
DATABASES = ("host_shop", "host_replica")


def main(arguments: list[str]) -> int:
    """Make each host, or those that are named, and say what holds."""
    names = arguments or list(KINDS)
    if unknown := set(names) - set(KINDS):
        print(f"There is no host {', '.join(sorted(unknown))}: {', '.join(KINDS)}.")
        return 1
    with tempfile.TemporaryDirectory(prefix="mlp-hosts-") as directory:
        home = Path(directory)
        started = time.monotonic()
        wheels, python = make_ground(home)
        print(f"wheel and environment: {time.monotonic() - started:.0f} s")
        if set(names) - {"plain"}:
            make_databases()
        bad = [name for name in names if not _holds(KINDS[name](), home, python, wheels)]
    return 1 if bad else 0


def make_ground(home: Path) -> tuple[Path, Path]:
    """Build the wheel and the environment of all hosts; returns the wheel's folder and Python."""
    wheels = home / "wheels"
    wheel = build_wheel(ROOT, wheels)
    more = ("pip", "uvicorn", "whitenoise")
    return wheels, make_environment(home / "env", wheel, *more, extras="localcloud,postgresql")


def make_databases() -> None:
    """Empty databases of the hosts that have one on PostgreSQL."""
    with psycopg.connect(host=postgres_host(), user=USER, autocommit=True) as connection:
        for name in DATABASES:
            connection.execute(f"DROP DATABASE IF EXISTS {name}")
            connection.execute(f"CREATE DATABASE {name}")


def run(kind: Kind, home: Path, python: Path, wheels: Path) -> Iterable[tuple[str, float]]:
    """Make a host; yields what holds in it, and the seconds that took. Failed ends it."""
    host = Host(kind, home / kind.name, python, wheels)
    try:
        yield "first count", host.install()
        visitor = Visitor(host)
        for name, check in {**kind.own, **CHECKS}.items():
            started = time.monotonic()
            try:
                check(visitor)
            except Exception as error:
                raise Failed(f"{name}: {error}") from error
            yield name, time.monotonic() - started
    finally:
        host.end()


def _holds(kind: Kind, home: Path, python: Path, wheels: Path) -> bool:
    print(f"--- {kind.name}: {kind.title}", flush=True)
    try:
        for name, seconds in run(kind, home, python, wheels):
            print(f"{name}: {seconds:.1f} s", flush=True)
    except Failed as failed:
        print(f"FAILED: {failed}")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
