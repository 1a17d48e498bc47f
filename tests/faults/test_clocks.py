"""Clocks: the wall clock is set, a second leaps, the agent stops for a while; wherever it has just written or acted."""
from __future__ import annotations

from typing import Any

import pytest

from faults.everywhere import Tried, count, points_of, try_all
from faults.table import trial


def points_in_every_phase(life: str = "freeze") -> list[tuple[str, list[str]]]:
    """A freeze from notice to record, and the phases that it does not come through."""
    freeze = points_of(life)
    return [(life, freeze)] + [(name, [point for point in points_of(name) if point not in freeze])
                                   for name in ("waiting", "doubt")]


def both_ways(life: str, there: str, back: str, **options: Any) -> list[Tried]:
    """One way at every other point, the other way at those between: both come by in every phase."""
    return [one for name, points in points_in_every_phase(life)
            for way, some in ((there, points[::2]), (back, points[1::2]))
            for one in try_all(name, some, befall=way, **options)]


@pytest.mark.slow
def test_a_wall_clock_set_wrong_anywhere_starts_no_recover_before_it_is_right():
    with trial("clock set by -1 day, +1 day", "at each commit and act; right again 1.2 s later", "nobody is told to carry "
               "on before it is right; all of the above") as tried:
        count(tried, both_ways("slow freeze", "a day back", "a day ahead"))


@pytest.mark.slow
def test_a_wall_clock_wrong_for_good_is_reported_to_the_hooks_that_recover_at_the_deadline():
    with trial("clock set by -1 day, +1 day", "at each commit and act; for good", "recovered at the deadline, told that "
               "the clock is bad; all of the above") as tried:
        count(tried, both_ways("slow freeze", "a day back for good", "a day ahead for good", deadline="1s"))


@pytest.mark.slow
def test_a_leap_second_anywhere_breaks_no_promise():
    with trial("leap second, put in and left out", "at each commit and act; here and on the time server at once",
               "all of the above") as tried:
        count(tried, both_ways("freeze", "a leap second", "a leap second left out"))


@pytest.mark.slow
def test_a_stop_anywhere_is_noticed_and_breaks_no_promise():
    """Also while the POST is on its way, and between the rows and their commit."""
    with trial("agent stopped for 1.3 s", "SIGSTOP by itself at each commit and act", "the pause is told within its "
               "uncertainty; all of the above") as tried:
        lives = [*points_in_every_phase(), ("cancelled", points_of("cancelled")), ("shared", points_of("shared"))]
        count(tried, [one for name, points in lives for one in try_all(name, points, befall="stop")])
