"""Death anywhere: a real agent kills itself with SIGKILL wherever it has just written or just acted, and is started
again, on the same boot or another."""
from __future__ import annotations

import random

import pytest

from faults.everywhere import AGAIN, count, points_of, try_all
from faults.life_courses import SIX
from faults.table import trial


@pytest.mark.slow
@pytest.mark.parametrize("reboots", [False, True], ids=["same-boot", "rebooted"])
@pytest.mark.parametrize("name", SIX)
def test_an_agent_that_dies_anywhere_forgets_no_hook(name, reboots):
    points = points_of(name)
    how = "the machine starts anew" if reboots else "kill -9 by itself"
    with trial(f"death: {name}", f"{how} at each commit and act", "recovered who was prepared, one copy at a time, no "
               "second POST but for a lost answer, the record closed") as tried:
        count(tried, try_all(name, points, befall="death", reboots=reboots))


@pytest.mark.slow
def test_an_agent_that_dies_again_in_its_startup_recovery_forgets_no_hook():
    """The second death is at a point drawn by a seed, among the first twenty after the start."""
    seed = 8
    points = points_of("freeze")
    draw = random.Random(seed)
    with trial("death twice: freeze", "kill -9 by itself at each point, and soon after the start again",
               "as above") as tried:
        count(tried, try_all("freeze", [f"{at}{AGAIN}{draw.randint(1, 20)}" for at in points], befall="death"))
