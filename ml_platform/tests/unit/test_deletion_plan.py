"""Which version the plan of a deletion gives the default alias to."""

from __future__ import annotations

import pytest

from ml_platform.services.deletion.plan import VersionFacts, plan_deletion


def _version(number: int, *aliases: str, vertex: str | None = None) -> VersionFacts:
    name = f"m@{number}" if vertex is None else vertex
    return VersionFacts(
        run_id=number, run_uid=f"{number:032x}", number=number, vertex=name, aliases=aliases
    )


@pytest.mark.parametrize(
    ("doomed", "heir"), [([10], 9), ([9], None), ([9, 10], 2), ([2, 9, 10], None)]
)
def test_the_default_moves_to_the_newest_version_that_stays(doomed: list[int], heir: int | None):
    versions = [
        _version(2), _version(9), _version(10, "default"), _version(11, vertex=""),
    ]  # fmt: skip
    plan = plan_deletion(versions=versions, doomed=doomed, endpoints=[])
    assert (plan.default_moves_to and plan.default_moves_to.number) == heir
