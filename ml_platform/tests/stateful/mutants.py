"""Defects seeded on purpose, one at a time: after how many histories or kills is each caught?

`python -m ml_platform.tests.stateful.mutants [--only NAME] [--limit 400]`
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_platform.tests.boundaries import BrokenInvariant

from . import defects
from . import defects_people as people
from .ground import DIE, DROP, standing

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud


@dataclass(frozen=True, slots=True)
class Mutant:
    """A defect: what is wrong, and what replaces what. Histories find it, or the kills of a
    scenario, or a short course. With `turns` the histories have only these, so that what people
    do behind us comes often."""

    what: str
    patches: Callable[[], list[Any]]
    kills: str = ""
    way: str = DIE
    course: str = ""
    turns: tuple[str, ...] = ()


MUTANTS: Mapping[str, Mutant] = {
    "prefix-without-slash": Mutant(
        "runs/1 is deleted as a prefix, and runs/10 with it", defects.prefix_without_slash
    ),
    "403-is-gone": Mutant("permission denied is read as not found", defects.denied_is_gone),
    "parent-for-a-version": Mutant(
        "DeleteModel is called where one version was meant", defects.parent_for_a_version
    ),
    "no-lock": Mutant("operations hold neither lineage nor service", defects.no_lock),
    "no-mark": Mutant(
        "a version is destroyed before it is marked",
        lambda: [
            defects.swap("deletion.delete.mark_deleting", defects.nothing),
            defects.swap("deletion.steps.mark_deleting", defects.nothing),
        ],
    ),
    "silent-reupload": Mutant("a deploy uploads a model that is gone", defects.silent_reupload),
    "not-asked-whose": Mutant("a service is changed whosever it is", defects.not_asked_whose),
    "one-strike": Mutant("a parent not found once is lost", defects.one_strike),
    "young-is-gone": Mutant(
        "what is too young to show is taken for gone",
        lambda: [defects.swap("deletion.steps.seconds_until_consistent", lambda *_, **__: 0.0)],
        course="young_version",
    ),
    "first-page-only": Mutant("a listing ends at its first page", defects.first_page_only),
    "row-after-cloud-run": Mutant(
        "the endpoint's row knows nothing before", defects.row_after_cloud_run
    ),
    "inactive-before-gone": Mutant(
        "an endpoint is inactive before its service is gone", defects.inactive_before_gone
    ),
    "no-look-up": Mutant(
        "an upload of unknown outcome is sent again",
        lambda: defects.step_of("register-run", "upload", probe=""),
        course="lost_upload",
    ),
    "mark-is-left": Mutant(
        "a failed deletion leaves its mark", defects.mark_is_left, course="refused_deletion"
    ),
    "swallowed": Mutant(
        "errors of Cloud Storage are swallowed", defects.swallowed, course="objects_left"
    ),
    "same-generation": Mutant("the generation does not grow", defects.same_generation),
    "cache-not-recounted": Mutant(
        "a deletion leaves the version cache",
        lambda: [defects.swap("registry.lineages.sync_version_cache", defects.nothing)],
    ),
    "lease-not-asked": Mutant(
        "a stalled worker sends its effect", defects.lease_not_asked, course="stalled_upload"
    ),
    "lease-not-kept": Mutant(
        "two workers go on with one operation", defects.lease_not_kept, course="second_worker"
    ),
    "no-replay": Mutant("a request repeated is a new one", defects.no_replay, kills="delete-last"),
    "unmarked-though-sent": Mutant(
        "a failure gives a version back whose deletion is on its way",
        lambda: [defects.swap("deletion.state.is_sent", lambda *_: False)],
        course="blind_deletion",
    ),
    "sent-for-all": Mutant(
        "one deletion that was sent speaks for every version",
        defects.sent_for_all,
        course="young_sibling",
    ),
    "users-not-asked": Mutant(
        "files go without a question who uses them", defects.users_not_asked, course="used_files"
    ),
    "lost-not-looked-for": Mutant(
        "a lost version is deleted without a look", defects.lost_not_looked_for, kills="delete-lost"
    ),
    "empty-page-is-the-end": Mutant("an empty page ends a deletion", defects.empty_page_is_the_end),
    "traffic-not-asked": Mutant(
        "a service is taken to serve its newest revision",
        defects.traffic_not_asked,
        course="pinned_deletion",
    ),
    "database-is-defect": Mutant(
        "an operation fails when its database does",
        lambda: [defects.swap("operations.engine.DATABASE_FAILURES", ())],
        kills="register-first",
        way=DROP,
    ),
    "no-heir": Mutant(
        "a moved alias is not written down", defects.no_heir, kills="delete-one-of-three"
    ),
    **{
        name: Mutant(what, patches, turns=turns)
        for turns, found in people.DEFECTS
        for name, (what, patches) in found.items()
    },
}


@contextmanager
def seeded(name: str) -> Iterator[None]:
    """Live with one defect."""
    patches = MUTANTS[name].patches() if name else []
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in reversed(patches):
            one.stop()


def hunt(cloud: LocalCloud, name: str, limit: int) -> tuple[int, str]:
    """How many histories, or kill points, it takes to catch a defect (0: it lives), and by what."""
    from .histories import play_history

    if MUTANTS[name].kills:
        return _hunt_by_kills(cloud, name)
    if MUTANTS[name].course:
        return _hunt_by_course(cloud, name)
    with seeded(name):
        for seed in range(limit):
            try:
                play_history(cloud, seed, only=MUTANTS[name].turns)
            except (BrokenInvariant, Exception) as caught:  # noqa: BLE001 - caught is caught
                return seed + 1, _what(caught)
    return 0, "lives"


def _what(caught: BaseException) -> str:
    if isinstance(caught, ExceptionGroup):
        caught = caught.exceptions[0]
    kind = "" if isinstance(caught, BrokenInvariant) else f"{type(caught).__name__}: "
    return f"{kind}{caught}".partition(";")[0][:60]


def _hunt_by_kills(cloud: LocalCloud, name: str) -> tuple[int, str]:
    from .kill import harness

    with harness(cloud, mutant=name, way=MUTANTS[name].way) as walker, seeded(name):
        try:
            walk = walker.walk(MUTANTS[name].kills, until_failure=True)
        except RuntimeError as caught:
            return 1, str(caught)[:60]
    return (walk.points if walk.failures else 0), "".join(walk.failures)[:60]


def _hunt_by_course(cloud: LocalCloud, name: str) -> tuple[int, str]:
    from .courses import COURSES
    from .invariants import Judge
    from .world import World

    world = World(cloud)
    world.reset()
    with Judge(cloud).sitting() as judge, seeded(name):
        try:
            wrong = COURSES[MUTANTS[name].course](world)
        except Exception as caught:  # noqa: BLE001 - caught is caught
            wrong = [_what(caught)]
    wrong = [*judge.broken, *wrong]
    return (1 if wrong else 0), "".join(wrong)[:60]


def main(arguments: Sequence[str]) -> int:
    """Hunt; 0 when every defect was caught."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.stateful.mutants")
    parser.add_argument("--only", action="append", default=[], choices=MUTANTS)
    parser.add_argument("--limit", type=int, default=400, help="histories for each")
    asked = parser.parse_args(arguments)
    alive = 0
    with standing("sqlite") as cloud:
        for name in asked.only or MUTANTS:
            started = time.monotonic()
            number, what = hunt(cloud, name, asked.limit)
            alive += not number
            mutant = MUTANTS[name]
            unit = "kills" if mutant.kills else "course" if mutant.course else "histories"
            found = f"{number:4} {unit:9}" if number else "     LIVES     "
            seconds = time.monotonic() - started
            print(f"{name:22} {found} {seconds:4.0f} s  {what}", flush=True)
    print(f"{alive} alive")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
