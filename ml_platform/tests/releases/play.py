"""What the two releases do beside each other, and what must be so in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .life import Life
from .processes import Release

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

Say = Callable[[str], None]


def play(cloud: LocalCloud, start: Callable[[str], Release], say: Say) -> None:
    """The old release alone, both, and the old one alone again on the new tables.

    :raises AssertionError: what is not as it must be, in words.
    """
    old = start("old")
    old.do("migrate")
    old.do("sign_in")
    project = old.do("project", name="shop")
    before = Life(cloud, old, [old], [old], "before")
    before.train(project)
    before.serve()
    say("the old release: trained and served")
    new = start("new")
    new.ahead = old.ahead
    new.do("migrate")
    new.do("sign_in")
    for web, other in ((old, new), (new, old)):
        _side_by_side(Life(cloud, web, [other, web], [old, new], f"by-{web.name}"), project)
        say(f"requests of the {web.name} release, carried on by both: a whole life")
    _look(Life(cloud, new, [old, new], [old, new], "before"), say)
    new.end()
    say("rolled back: the new release is gone, its tables stay")
    after = Life(cloud, old, [old], [old], "after")
    _whole_life(after, project)
    before.look(project)
    before.end()
    say("the old release: a whole life, and the end of what it had begun")
    again = start("new")
    again.ahead = old.ahead
    again.do("sign_in")
    _look(Life(cloud, again, [again], [old, again], "before"), say)
    _require_success(again)


def _whole_life(life: Life, project: int) -> None:
    life.train(project)
    life.serve()
    life.schedule(project)
    life.look(project)
    life.end()


def _side_by_side(life: Life, project: int) -> None:
    life.train(project)
    life.serve()
    life.schedule(project)
    for web in life.everyone:
        Life(life.cloud, web, life.workers, life.everyone, life.model_name).look(project)
    life.end()


def _look(life: Life, say: Say) -> None:
    """Sweeps find nothing; the operations that they open are carried on, too."""
    for _ in range(3):
        found = life.web.do("look")
        life.settle()
        life.forward(600)
    say(f"a sweep of the {life.web.name} release: {found}")
    if found != {"status": "complete", "findings": []}:
        raise AssertionError(f"{life.web.name} finds {found}")


def _require_success(release: Release) -> None:
    for one in release.do("operations"):
        if one["status"] != "succeeded":
            raise AssertionError(f"an operation did not succeed: {one}")
