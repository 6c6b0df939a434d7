"""Puts small defects into the product one at a time: do the tests that ought to notice fail?

`python -m ml_platform.tests.mutants [-j N] [--only ID] [--sample N --seed S] [--list]`

Ends with 0 when every defect was caught, 1 when one lived, 2 when one could not be tried: its
snippet is not in the file once, its tests do not run, or they fail without it.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
from collections.abc import Sequence

from . import ALL
from .defect import Defect, NotApplicable
from .runner import BROKEN, LIVED, PACKAGE, ROOT, Verdict, run_all, run_tests


def main(arguments: Sequence[str]) -> int:
    """Try the defects that were asked for, and print the score."""
    # A run that is ended leaves neither copies of the tree nor tests behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asked = _parser().parse_args(arguments)
    chosen = _chosen(asked)
    if asked.list:
        for defect in chosen:
            print(f"{defect.id:44} {defect.path:44} {' '.join(defect.tests)}")
        return 0
    if problems := not_applicable(chosen):
        print("\n".join(problems))
        return 2
    if asked.control and not _passes_without(chosen):
        return 2
    verdicts = run_all(chosen, workers=asked.j, tell=_tell)
    caught = sum(verdict.is_caught for verdict in verdicts)
    for verdict in verdicts:
        if verdict.result == LIVED:
            print(f"LIVED: {verdict.defect.id} in {verdict.defect.path}")
    print(f"{caught} caught, {len(verdicts) - caught} not: {caught / len(verdicts):.1%}")
    if any(verdict.result == BROKEN for verdict in verdicts):
        return 2
    return 0 if caught == len(verdicts) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.mutants")
    parser.add_argument("-j", type=int, default=2, metavar="N", help="how many at a time")
    parser.add_argument("--only", action="append", default=[], metavar="ID")
    parser.add_argument("--sample", type=int, metavar="N", help="only so many, by chance")
    parser.add_argument("--seed", default="0", help="the same seed chooses the same sample")
    parser.add_argument("--list", action="store_true", help="say which there are, try none")
    parser.add_argument(
        "--no-control",
        dest="control",
        action="store_false",
        help="do not run the tests without a defect first: they were run just now",
    )
    return parser


def _chosen(asked: argparse.Namespace) -> list[Defect]:
    if unknown := set(asked.only) - {defect.id for defect in ALL}:
        raise SystemExit(f"There is no defect {', '.join(sorted(unknown))}.")
    chosen = [defect for defect in ALL if not asked.only or defect.id in asked.only]
    if asked.sample is None:
        return chosen
    return random.Random(asked.seed).sample(chosen, min(asked.sample, len(chosen)))


def not_applicable(defects: Sequence[Defect]) -> list[str]:
    """Which of the defects cannot be put into the product as it is, and why."""
    problems = []
    for defect in defects:
        file = ROOT / PACKAGE / defect.path
        try:
            defect.applied_to(file.read_text() if file.exists() else "")
        except NotApplicable as problem:
            problems.append(str(problem))
    return problems


def _passes_without(defects: Sequence[Defect]) -> bool:
    """Tests that fail as it is would catch anything."""
    tests = sorted({test for defect in defects for test in defect.tests})
    result, output = run_tests(tests, ROOT)
    if result != LIVED:
        print(f"{output}\nThese tests fail without any defect.")
    return result == LIVED


def _tell(verdict: Verdict) -> None:
    what = f"{verdict.defect.id:44} {verdict.noticed_by}"
    print(f"{verdict.result:7} {verdict.seconds:5.1f} s  {what}", flush=True)
    if verdict.result == BROKEN:
        print(verdict.output, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
