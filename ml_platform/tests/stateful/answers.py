"""Many answers of each counting path while another connection commits all the time.

`python -m ml_platform.tests.stateful.answers --answers 10000`; 0 when no answer contradicts itself.
The tests ask a few, and let the writer commit between any two statements.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from .ground import standing

if TYPE_CHECKING:
    from ml_platform.tests.doors.counting import Writer

PROGRESS = 100


def answers(number: int) -> tuple[Counter[str], dict[str, list[str]], int]:
    """Ask each path so many times, in turns; returns how many answers each gave, those that
    contradict themselves, and how often the writer has committed."""
    from django.test.utils import setup_test_environment

    from ml_platform.cloud.transport import channels
    from ml_platform.models.clock import database_now
    from ml_platform.services.operations.store import Actor
    from ml_platform.services.sweeps.sweep import sweep
    from ml_platform.tests.doors.counting import AUDITS, PATHS, Callers, Writer, two_projects

    setup_test_environment()  # so that a page's answer has what it was rendered from
    projects = two_projects()
    channels.storage_client().create_bucket("demo-artifacts")
    sweep(actor=Actor(label="tests", origin="command"), clock=database_now)
    callers, writer = Callers(projects), Writer(projects)
    given, wrong, began = Counter[str](), dict[str, list[str]](), time.monotonic()
    with _writing(writer):
        for turn in range(1, number + 1):
            for name, check in {**PATHS, **AUDITS}.items():
                try:
                    check(callers, lambda read: read())
                except AssertionError as error:
                    wrong.setdefault(name, []).append(str(error).partition("\n")[0])
                given[name] += 1
            if turn % PROGRESS == 0:
                lasted = time.monotonic() - began
                said = f"{turn} of each, {writer.commits} commits, {len(wrong)} wrong"
                print(f"{said}, {lasted:.0f} s", flush=True)
    return given, wrong, writer.commits


@contextmanager
def _writing(writer: Writer) -> Iterator[None]:
    """Commit one change after the other, until the block ends."""
    stop, failed = Event(), list[BaseException]()

    def write() -> None:
        try:
            while not stop.is_set():
                writer.write()
        except BaseException as error:
            failed.append(error)
            raise

    thread = Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        writer.close()
    if failed:
        raise failed[0]


def main(arguments: Sequence[str]) -> int:
    """Ask; 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.stateful.answers")
    parser.add_argument("--answers", type=int, default=10_000, help="of each counting path")
    parser.add_argument("--db", choices=("sqlite", "postgresql"), default="postgresql")
    asked: Any = parser.parse_args(arguments)
    with standing(asked.db):
        given, wrong, commits = answers(asked.answers)
    for name, number in given.items():
        found = wrong.get(name, [])
        print(f"{number} answers of {name}: {len(found)} contradict themselves", *found[:3])
    print(f"The writer committed {commits} times.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
