"""Clocks: the wall clock is set, a second leaps, the agent stops for a while; wherever it has just written or acted."""
from __future__ import annotations

import pytest

from faults.everywhere import count, points_of, try_all
from faults.table import trial

HELD = "nobody carries on by a wrong clock before it is right or the deadline over; all of the above"


def points_in_every_phase() -> list[tuple[str, list[str]]]:
    """A freeze from notice to record, and the phases that it does not come through."""
    freeze = points_of("freeze")
    return [("freeze", freeze)] + [(name, [point for point in points_of(name) if point not in freeze])
                                   for name in ("waiting", "doubt")]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["a day back", "a day ahead"])
def test_a_wall_clock_set_wrong_anywhere_lets_nobody_carry_on_before_it_is_right(by):
    with trial(f"clock set {by}", "at each commit and act; right again 1.2 s later", HELD) as tried:
        count(tried, [one for name, points in points_in_every_phase() for one in try_all(name, points, befall=by)])


@pytest.mark.slow
@pytest.mark.parametrize("by", ["a day back", "a day ahead"])
def test_a_wall_clock_wrong_for_good_is_told_to_whoever_carries_on_at_the_deadline(by):
    with trial(f"clock set {by}, for good", "at each commit and act", "recovered at the deadline, told that the clock is "
               "bad") as tried:
        count(tried, [one for name, points in points_in_every_phase()
                      for one in try_all(name, points, befall=f"{by} for good", deadline="1s")])


@pytest.mark.slow
@pytest.mark.parametrize("leap", ["a leap second", "a leap second left out"])
def test_a_leap_second_anywhere_delays_nobody_for_long(leap):
    with trial(leap, "at each commit and act, here and on the time server at once", "the clock is found good, all of the "
               "above") as tried:
        count(tried, try_all("freeze", points_of("freeze"), befall=leap))


@pytest.mark.slow
def test_a_stop_anywhere_is_noticed_and_breaks_no_promise():
    """Also while the POST is on its way, and between the rows and their commit."""
    with trial("agent stopped for 1.3 s", "SIGSTOP by itself at each commit and act", "the pause is told within its "
               "uncertainty; all of the above") as tried:
        lives = [*points_in_every_phase(), ("cancelled", points_of("cancelled")), ("reboot", points_of("reboot"))]
        count(tried, [one for name, points in lives for one in try_all(name, points, befall="stop")])
