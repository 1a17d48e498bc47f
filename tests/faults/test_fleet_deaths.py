"""kill -9 of an agent at each write of its part in a fleet: each transaction of its journal, each write to the store, its
acknowledgement. Three agents, one slot, a shared event, a real etcd."""
from __future__ import annotations

import pytest

from faults.everywhere import count, todays
from faults.fleet_lives import FLEET_LIVES, try_points
from faults.table import trial
from real_etcd import RealEtcd, need

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", FLEET_LIVES)
def test_an_agent_that_dies_at_any_write_keeps_what_its_fleet_relies_on(name, tmp_path):
    need("etcd")
    with RealEtcd(tmp_path) as etcd, trial(
            f"death in a fleet: {name}", "kill -9 by itself before, at and after each write",
            "recovered who was prepared, one POST a claim, one event away, the store clean") as tried:
        count(tried, try_points(etcd, name, todays))
