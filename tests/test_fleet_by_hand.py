"""What a person sees and does of a fleet of real agents: `tideover fleet status` and `release` on one of its machines."""
from __future__ import annotations

import json
import signal
from contextlib import ExitStack

import pytest

from fleet_agents import Fleet
from tideover.fleet.etcd import EtcdStore
from tideover.fleet_documents import event_digest, event_key, slots_key
from tideover.simulator.etcd_gateway import SimulatedEtcd

pytestmark = [pytest.mark.slow]


@pytest.fixture
def two(tmp_path):
    """Two machines of one group with one slot, and a store."""
    with ExitStack() as stack:
        etcd = stack.enter_context(SimulatedEtcd())
        machines = Fleet(tmp_path, etcd, 2, stack)      # type: ignore[arg-type]  # of the cluster it needs the address alone
        machines.configure("slots = 1")
        machines.start()
        yield machines


def status(machine) -> dict:
    return json.loads(machine.command("fleet", "status", "--json").stdout)


def test_a_machine_without_an_agent_is_named_as_soon_as_the_event_is_seen(two):
    first = two.machines[0]
    first.until(lambda: len(status(first)["groups"][0]["members"]) == 2)
    assert first.command("fleet", "status").returncode == 0
    event = two.freeze("vm-1", "vm-2", "vm-9")
    first.until(lambda: status(first)["events"])
    told = first.command("fleet", "status")
    assert told.returncode == 1
    assert told.stdout.splitlines()[0].startswith(f"Freeze {event} names vm-9, for which no agent has written to the store")
    first.until(lambda: sum(one["state"] == "ready" for one in status(first)["events"][0]["machines"]) == 2)
    assert two.acknowledgements(event) == []


def test_a_slot_of_a_machine_that_is_gone_is_released_by_hand_and_the_next_one_goes(two):
    events = {}
    first, second = two.machines
    events[first] = two.freeze("vm-1")
    first.until(lambda: first.record()["status"] == "acknowledged" or first.record()["status"] == "started")
    first.kill()
    events[second] = two.freeze("vm-2")
    second.until(lambda: second.record()["status"] == "waiting-for-slot")
    [group] = status(second)["groups"]
    assert (group["slots_used"], group["slots_allowed"]) == (1, 1)
    told = second.command("fleet", "status").stdout
    assert "waits for a slot of default, held by vm-1 (freeze" in told and "slots in use: 1 of 1" in told
    assert second.command("fleet", "release", "vm-1").returncode == 2       # no terminal, and not confirmed
    released = second.command("fleet", "release", "vm-1", "--yes")
    assert (released.returncode, released.stdout.startswith("Released: a granted slot for freeze")) == (0, True)
    second.until(lambda: two.acknowledgements(events[second]) == ["vm-2"])
    first.start(asks=False)                             # back: it acknowledges nothing with that slot, and recovers
    two.metadata.remove_event(events[first])
    first.until(lambda: [one["status"] for one in first.records() if one["event_id"] == events[first]] == ["closed"])
    assert first.begun() == ["drain prepare", "drain recover"] and two.acknowledgements(events[first]) == ["vm-1"]


def test_a_configuration_without_a_fleet_is_applied_after_the_store_has_let_go_of_the_event(two):
    """Nothing would free the slot for half an hour: the agent that knows the store is no more."""
    first = two.machines[0]
    event = two.freeze("vm-1", "vm-2")
    first.until(lambda: first.record()["status"] == "started")
    store = EtcdStore([f"http://{two.cluster.setting.rpartition('/')[2]}"], "tideover")

    def stands_there():
        return [key for key in (slots_key("default"), event_key(event_digest("azure", event)))
                if (found := store.get(key)) is not None and b'"vm-1":' in found.value]

    assert len(stands_there()) == 2
    first.configure()
    first.agents[-1].send_signal(signal.SIGHUP)
    two.metadata.remove_event(event)
    first.until(lambda: "configuration.read " in first.said())
    assert stands_there() == []
