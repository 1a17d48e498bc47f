"""The arithmetic of gaps: what two readings of this machine's own clocks and counters say."""
from __future__ import annotations

import random

import pytest

from pause_played import ns
from tideover.timekeeping.gaps import ClockReading, gap_between, shift_between, wake_latency_ns

BEFORE = ClockReading(raw_ns=ns(100), mono_ns=ns(100), wall_ns=ns(5000), boot_ns=ns(150))


def later(raw: float = 1, mono: float = 1, wall: float = 1, boot: float = 1, width: int = 0) -> ClockReading:
    return ClockReading(BEFORE.raw_ns + ns(raw), BEFORE.mono_ns + ns(mono), BEFORE.wall_ns + ns(wall),
                   BEFORE.boot_ns + ns(boot), width)


def test_a_wait_that_ended_in_time_has_no_gap_and_one_ended_early_neither() -> None:
    assert gap_between(BEFORE, later(raw=0.25), ns(0.25)).visible_ns == 0
    assert gap_between(BEFORE, later(raw=0.01), ns(0.25)).visible_ns == 0


def test_the_true_length_of_a_stop_lies_in_the_claimed_interval_wherever_in_the_wait_it_began() -> None:
    """A stop of L that begins x into a wait of P and is noticed w after it shows as x + L + w on the raw clock."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    print("seed", seed)
    for _ in range(2000):
        period, wake = dice.choice((0.05, 0.25)), dice.uniform(0, 0.02)
        length = dice.uniform(period, 40)
        elapsed = max(period, dice.uniform(0, period) + length) + dice.uniform(0, wake)
        claimed = gap_between(BEFORE, later(raw=elapsed), ns(period)).length
        assert claimed.low_ns - ns(wake) - 2 <= ns(length) <= claimed.high_ns + 2, (period, wake, length, elapsed)


def test_one_late_wake_up_is_chance_and_two_are_expected_again() -> None:
    assert wake_latency_ns(()) == wake_latency_ns((ns(0.3),)) == wake_latency_ns((0, ns(0.3))) == ns(0.005)
    assert wake_latency_ns((0, ns(0.3), ns(0.02), 0)) == ns(0.02)


@pytest.mark.parametrize("by_s", [3.0, -3.0, 0.0011])
def test_a_step_of_the_wall_clock_shows_with_its_sign(by_s: float) -> None:
    shift = shift_between(BEFORE, later(wall=1 + by_s))
    assert shift.is_step and not shift.is_suspend
    assert shift.stepped_ns == ns(by_s)


def test_slewing_and_a_slow_raw_clock_are_no_step() -> None:
    """A slewing daemon makes MONOTONIC and REALTIME run fast together; only their difference can tell of a step."""
    assert not shift_between(BEFORE, later(raw=1, mono=1.083, wall=1.083, boot=1.083)).is_step


def test_a_step_smaller_than_the_reading_is_sure_of_is_not_reported() -> None:
    assert not shift_between(BEFORE, later(wall=1.004, width=ns(0.008))).is_step
    assert shift_between(BEFORE, later(wall=1.006, width=ns(0.008))).is_step


def test_a_suspend_smaller_than_the_reading_is_sure_of_is_not_reported() -> None:
    assert not shift_between(BEFORE, later(boot=1.004, wall=1.004, width=ns(0.008))).is_suspend
    assert shift_between(BEFORE, later(boot=1.006, wall=1.006, width=ns(0.008))).is_suspend


def test_a_suspend_shows_in_the_boot_clock_exactly_and_is_no_step() -> None:
    shift = shift_between(BEFORE, later(boot=61, wall=61))
    assert shift.is_suspend and not shift.is_step
    assert shift.suspended_ns == ns(60)


def test_a_step_within_a_suspend_is_distinguished_from_it() -> None:
    shift = shift_between(BEFORE, later(boot=61, wall=59))
    assert shift.suspended_ns == ns(60) and shift.stepped_ns == ns(-2)
