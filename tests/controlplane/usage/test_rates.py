"""Rates: a ring of counters that forgets what is older than ten minutes, and nothing newer."""

from __future__ import annotations

import pytest

from controlplane.usage.rates import SECONDS, STEPS, Rates


class Monotonic:
    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def now() -> Monotonic:
    return Monotonic()


def test_uses_of_now_stand_last(now: Monotonic) -> None:
    rates = Rates(now)
    rates.count(allowed=True)
    rates.count(allowed=True)
    rates.count(allowed=False)
    shown = rates.shown()
    assert (shown.seconds, len(shown.allowed), len(shown.refused)) == (SECONDS, STEPS, STEPS)
    assert (shown.allowed[-1], shown.refused[-1]) == (2, 1)
    assert sum(shown.allowed) == 2


def test_they_move_back_with_time_and_leave_after_ten_minutes(now: Monotonic) -> None:
    rates = Rates(now)
    rates.count(allowed=True)
    now.at += 3 * SECONDS
    assert rates.shown().allowed[-4:] == (1, 0, 0, 0)
    now.at += (STEPS - 4) * SECONDS
    assert rates.shown().allowed[0] == 1
    now.at += SECONDS
    assert sum(rates.shown().allowed) == 0


def test_a_long_silence_leaves_nothing_behind(now: Monotonic) -> None:
    rates = Rates(now)
    for _ in range(STEPS):
        rates.count(allowed=False)
        now.at += SECONDS
    now.at += 100 * STEPS * SECONDS
    rates.count(allowed=True)
    shown = rates.shown()
    assert (sum(shown.allowed), sum(shown.refused)) == (1, 0)
