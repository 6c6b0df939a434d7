"""The Clock: time that tests move, timers that fire in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from ml_platform.localcloud.core.clock import Clock

NOON = datetime(2026, 2, 8, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    clock.freeze()
    clock.set(NOON)
    clock.start()
    yield clock
    clock.stop()


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_advancing_fires_timers_in_time_order_each_at_its_own_time(clock: Clock) -> None:
    fired: list[tuple[str, datetime]] = []

    def note(key: str) -> None:
        fired.append((key, clock.now()))

    for key, seconds in (("c", 30), ("a", 10), ("b", 20), ("late", 40)):
        clock.call_at(later(seconds), key, partial(note, key))
    clock.advance(30)
    assert fired == [("a", later(10)), ("b", later(20)), ("c", later(30))]
    assert clock.now() == later(30)
    assert clock.pending() == [(later(40), "late")]


def test_timers_fire_in_the_thread_that_advances(clock: Clock) -> None:
    threads: list[threading.Thread] = []
    clock.call_at(later(1), "one", lambda: threads.append(threading.current_thread()))
    clock.advance(1)
    assert threads == [threading.current_thread()]


def test_a_timer_may_set_the_next_one_within_the_same_advance(clock: Clock) -> None:
    ticks: list[datetime] = []

    def tick() -> None:
        ticks.append(clock.now())
        clock.call_at(clock.now() + timedelta(seconds=10), "tick", tick)

    clock.call_at(later(10), "tick", tick)
    clock.advance(35)
    assert ticks == [later(10), later(20), later(30)]


def test_a_timer_of_the_same_key_is_replaced_and_a_cancelled_one_never_fires(clock: Clock) -> None:
    fired: list[str] = []
    clock.call_at(later(1), "key", lambda: fired.append("old"))
    clock.call_at(later(2), "key", lambda: fired.append("new"))
    clock.call_at(later(3), "gone", lambda: fired.append("gone"))
    clock.cancel("gone")
    clock.advance(10)
    assert fired == ["new"]


def test_an_overdue_timer_does_not_turn_time_back(clock: Clock) -> None:
    seen: list[datetime] = []
    clock.call_at(later(-100), "overdue", lambda: seen.append(clock.now()))
    clock.advance(5)
    assert seen == [NOON]


def test_setting_time_backward_fires_nothing(clock: Clock) -> None:
    fired: list[str] = []
    clock.call_at(later(5), "key", lambda: fired.append("key"))
    clock.set(later(-60))
    assert (fired, clock.now()) == ([], later(-60))


def test_real_time_fires_timers_by_itself_once_thawed(clock: Clock) -> None:
    fired = threading.Event()
    clock.call_at(later(0.05), "soon", fired.set)
    assert not fired.wait(0.2), "frozen time must not fire"
    clock.thaw()
    assert fired.wait(10)


def test_reset_brings_real_time_back_and_forgets_the_timers(clock: Clock) -> None:
    clock.call_at(later(1), "key", lambda: None)
    clock.reset()
    assert abs((clock.now() - datetime.now(UTC)).total_seconds()) < 5
    assert clock.pending() == []
