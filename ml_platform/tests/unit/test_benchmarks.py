"""What the benchmarks promise: no request is spared its wait, and a table goes where it belongs."""

from __future__ import annotations

import threading
import time

import pytest

from ml_platform.tests.benchmarks.documents import put, table
from ml_platform.tests.benchmarks.load.arrivals import Answer, arrive, summary


def test_a_server_that_stands_still_is_late_for_all_that_was_due_meanwhile():
    one_at_a_time = threading.Lock()

    def ask(number: int) -> str:
        with one_at_a_time:
            time.sleep(0.2 if number == 0 else 0)
        return "refused" if number == 3 else ""

    answers = arrive(lambda: ask, rate=500, seconds=0.3)
    by_number = {round(answer.due * 500): answer.seconds for answer in answers}
    assert sorted(by_number) == list(range(150))
    assert by_number[0] >= 0.2
    assert by_number[50] >= 0.1  # it was due when half of that time was over
    assert (summary(answers).answers, summary(answers).errors) == (150, 1)


def test_the_99th_percentile_is_the_time_that_one_of_a_hundred_exceeds():
    answers = [Answer(0.0, number / 1000) for number in range(1, 101)]
    assert summary(answers).p99 == pytest.approx(99)
    assert summary(answers[:10]).p99 == pytest.approx(10)


def test_a_text_goes_between_its_two_comments_and_nowhere_else():
    page = "Before\n<!-- load -->\nold\n<!-- end of load -->\nAfter\n"
    new = "Before\n<!-- load -->\n\nnew\n\n<!-- end of load -->\nAfter\n"
    assert put(page, "load", "new") == new == put(new, "load", "new")
    with pytest.raises(ValueError, match="does not have <!-- peers -->"):
        put(page, "peers", "new")
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
