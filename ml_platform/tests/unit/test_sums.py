"""Unknown numbers in sums and charts: properties over all inputs."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_platform.kpis import HistoryPoint, Sum
from ml_platform.pages.view_models.charts import history_chart, spark, spark_days
from ml_platform.pages.view_models.serialize import in_words

DAYS = st.lists(st.none() | st.integers(0, 10**6), max_size=20)
QUICK = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
A: Any = Sum.over([1, None])


@QUICK
@given(DAYS)
def test_a_sum_is_known_only_where_every_day_is(days: list[int | None]) -> None:
    known = [value for value in days if value is not None]
    found = Sum.over(days)
    assert (found.known, found.days) == (len(known), len(days))
    assert found.of_known == (sum(known) if known else None)
    assert found.total == (sum(known) if known and None not in days else None)
    assert ("unknown" in in_words(found)) is not bool(known)


@pytest.mark.parametrize(
    "use", [lambda: A + A, lambda: A + 1, lambda: sum([A, A]), lambda: A / 7, lambda: A < 5]
)
def test_a_sum_is_not_used_as_a_number_by_accident(use: Any) -> None:
    with pytest.raises(TypeError):
        use()


def gaps(values: list[int | None]) -> int:
    """How many parts a line with these values has."""
    known = [value is not None for value in values]
    return sum(here and not before for here, before in zip(known, [False, *known], strict=False))


@QUICK
@given(DAYS)
def test_a_line_has_a_part_for_each_stretch_without_a_gap(days: list[int | None]) -> None:
    assert len(spark(days)) == gaps(days)
    for part in spark(days):
        assert len(part.split()) > 1
    told = [day["label"].endswith("not read") for day in spark_days(days, date(2026, 1, 30))]
    assert told == [value is None for value in days]


@QUICK
@given(DAYS)
def test_a_stair_ends_where_a_gap_begins(days: list[int | None]) -> None:
    first = date(2026, 1, 1)
    points = [
        HistoryPoint(day=first + timedelta(days=n), models=value, versions=value)
        for n, value in enumerate(days)
    ]
    chart = history_chart(points, days)
    for line in chart["lines"]:
        assert len(line["parts"]) == gaps(days)
        covered = [float(corner.split(",")[0]) for part in line["parts"] for corner in part.split()]
        for x in covered:
            assert days[int(x)] is not None
    drawn = [(bar["x"], bar["known"]) for bar in chart["drift"]]
    assert drawn == [(x, v is not None) for x, v in enumerate(days) if v != 0]
