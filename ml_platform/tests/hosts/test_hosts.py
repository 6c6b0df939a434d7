"""A project that knows only docs/host.md and the wheel: from its first line to all checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ml_platform.cloud.transport.methods import METHODS
from ml_platform.localcloud.core.access.permissions import ROLES, needs_of

from .__main__ import KINDS, make_ground, run
from .checks import CHECKS
from .kinds import PLAIN
from .page import PAGE

FIVE_MINUTES = 300.0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_empty_project_holds_the_wheel_after_five_minutes_of_typing(tmp_path: Path) -> None:
    wheels, python = make_ground(tmp_path)
    held = dict(run(PLAIN, tmp_path, python, wheels))
    assert list(held) == ["first count", *CHECKS]
    assert held["first count"] < FIVE_MINUTES


def test_the_page_names_every_host() -> None:
    table = PAGE.read_text().partition("\n## Tested hosts\n")[2]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(KINDS)


def test_the_table_of_roles_has_each_method_once_and_a_role_that_allows_it() -> None:
    table = PAGE.read_text().partition("\n## Google Cloud's roles\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [^|]+ \| ([^|]*roles/[^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    listed = [(method, roles) for roles, row in rows for method in re.findall(r"`(\S+)`", row)]
    assert sorted(method for method, _ in listed) == sorted(METHODS)
    known = {"bucket": "b", "name": "o", "to_bucket": "b", "to_name": "o"}
    lacks = [
        (method, need.permissions)
        for method, roles in listed
        if method != "storage.batch"  # each of its parts is a call of its own
        for need in needs_of(method, "projects/p/locations/l/models/1/operations/2", known)
        if not any(
            set(need.permissions) & ROLES[role] for role in re.findall(r"`(roles/\S+)`", roles)
        )
    ]
    assert lacks == []
