"""kill -9 of an agent at each write of its part in a fleet: each transaction of its journal, each write to the store, its
acknowledgement; a reboot of its machine; wrong clocks. Three agents, one slot, a shared event, a real etcd."""
from __future__ import annotations

from contextlib import ExitStack, closing

import pytest

from faults.everywhere import EVERY, count, todays
from faults.fleet_lives import FLEET_LIVES, OWN, SHARED, SLOW, FleetStage, of_fleet, try_points
from faults.life_courses import BRIEF
from faults.table import trial
from faults.trials import Starter
from real_etcd import RealEtcd, need

pytestmark = pytest.mark.slow

SHARE = 2 * EVERY if EVERY > 1 else 1       # a life takes three agents


def share(points: list[str]) -> list[str]:
    return todays(points, SHARE)


@pytest.mark.parametrize("name", FLEET_LIVES)
def test_an_agent_that_dies_at_any_write_keeps_what_its_fleet_relies_on(name, tmp_path):
    need("etcd")
    with RealEtcd(tmp_path) as etcd, trial(
            f"death in a fleet: {name}", "kill -9 by itself before, at and after each write",
            "recovered who was prepared, one POST a claim, one event away, the store clean") as tried:
        count(tried, try_points(etcd, name, share))


@pytest.fixture
def three_starters():
    with closing(Starter()) as one, closing(Starter()) as two, closing(Starter()) as three:
        yield one, two, three


@pytest.mark.extra
def test_a_machine_that_reboots_when_it_is_ready_is_not_ready_in_its_new_boot_until_it_has_prepared_again(three_starters, tmp_path):
    need("etcd")
    with RealEtcd(tmp_path, 3) as etcd, ExitStack() as stack:
        here = FleetStage(etcd, three_starters, stack, (BRIEF, "if [ $1 = prepare ]; then sleep 6; fi", BRIEF))
        here.ready()
        here.announce(SHARED, "vm-1", "vm-2")
        here.has(0, f"{SHARED} ready")
        before = here.first.boot_id
        here.first.reboot()
        here.has(1, f"{SHARED} event started")
        entries = [event.members["vm-1"] for event in here.history.events() if "vm-1" in event.members]
        states = [(one.state, one.boot_id == before) for one in entries]
        course = [state for place, state in enumerate(states) if state != states[place - 1] or not place]
        assert course[-3:] == [("ready", True), ("not-ready", False), ("ready", False)], course
        here.first.metadata.remove_event(SHARED)
        for place in (0, 1):
            here.has(place, f"{SHARED} closed")
        here.announce(OWN, "vm-3")
        here.ends(OWN, 2)
        here.first.until(here.is_clean)
        assert of_fleet(here) == []


@pytest.mark.extra
def test_clocks_that_are_hours_apart_make_no_difference(three_starters, tmp_path):
    """The first is a day behind, the second right, the third two hours ahead."""
    need("etcd")
    with RealEtcd(tmp_path, 3) as etcd, ExitStack() as stack:
        here = FleetStage(etcd, three_starters, stack, (BRIEF, SLOW, BRIEF), walls=(-86400.0, 0.0, 7200.0), deadline="1s")
        FLEET_LIVES["it is ready first"].play(here)
        here.first.until(here.is_clean)
        assert of_fleet(here) == []
