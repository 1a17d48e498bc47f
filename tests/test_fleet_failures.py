"""By hand: each failure that docs/fleet.md names, with real agents and a real etcd of three members, where it takes long waits
or a whole cluster. What is short runs in test_fleet_agents.py, test_fleet_etcd_servers.py and test_fleet_claimant.py.

    pytest -m extra -s tests/test_fleet_failures.py         about 20 minutes
"""
from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from fleet_agents import Fleet, fleet
from real_etcd import EtcdMember, need, proxied, until_it_works
from running_agent import World
from tideover.fleet.store import StoreFailed
from tideover.fleet_documents import EventDocument, Holder, decode_event, decode_slots, slots_key
from tideover.simulator.http import InjectedFault

pytestmark = [pytest.mark.slow, pytest.mark.extra]

ALL = ("vm-1", "vm-2", "vm-3")
PATIENCE_S = 60.0
QUICK = '[hooks]\ntimeout = "1s"\nreserve = "1s"\n'


@pytest.fixture(autouse=True)
def etcd() -> None:
    need("etcd", "etcdctl")


def status(machine: World) -> str:
    return str(machine.record()["status"])


def reaches(machine: World, *statuses: str, within_s: float = PATIENCE_S) -> float:
    """Wait until its newest record has one of them; return how many seconds that took."""
    began = time.monotonic()
    machine.until(lambda: status(machine) in statuses, within_s)
    return time.monotonic() - began


def what(machine: World) -> list[str]:
    return [row["what"] for row in machine.record()["timeline"]]


def holders(here: Fleet) -> tuple[Holder, ...]:
    stored = here.cluster.store().get(slots_key("default"))
    return () if stored is None else decode_slots(stored.key, stored.value).holders


def shared_events(here: Fleet) -> list[EventDocument]:
    return [decode_event(one.key, one.value) for one in here.cluster.store().list("v1/events/")]


def is_clean(here: Fleet) -> bool:
    with suppress(StoreFailed):
        return not holders(here) and not shared_events(here)
    return False


def closes(here: Fleet, event: str, *machines: World) -> None:
    here.metadata.remove_event(event)
    for machine in machines:
        machine.until(lambda machine=machine: [one["status"] for one in machine.records() if one["event_id"] == event] == ["closed"], PATIENCE_S)


def away(machines: list[World]) -> tuple[float, float]:
    """From the first prepare to the last recover."""
    lines = [line for machine in machines for line in machine.lines()]
    return min(float(line[0]) for line in lines if line[2] == "prepare"), max(float(line[0]) for line in lines if line[2] == "recover-ended")


# --- the store, at each step of a life (test plan 2)

def leader_stops(here: Fleet) -> None:
    leader = here.cluster.leader()
    leader.stop()
    time.sleep(10.0)
    leader.go_on()


def leader_dies(here: Fleet) -> None:
    leader = here.cluster.leader()
    leader.kill()
    time.sleep(5.0)
    leader.start()


def two_die(here: Fleet) -> None:
    two = [here.cluster.leader()]
    two.append(next(member for member in here.cluster.members if member is not two[0]))
    for member in two:
        member.kill()
    time.sleep(6.0)
    for member in two:
        member.start()


STEPS = {"waiting": "waiting-for-slot", "preparing": "preparing", "ready": "waiting-for-peers", "claimed": "acknowledging",
         "started": "started", "recovering": "recovering"}


@pytest.mark.parametrize("fault", [leader_stops, leader_dies, two_die])
@pytest.mark.parametrize("step", STEPS)
def test_a_store_that_fails_at_a_step_of_a_life_costs_time_alone(fault: Callable[[Fleet], None], step: str, tmp_path: Path) -> None:
    """vm-3 has the slot; vm-1 and vm-2 wait for it with a shared event, and vm-2 is ready last."""
    with fleet(tmp_path, members=3) as here:
        here.configure("slots = 1")
        first, second, third = here.machines
        first.hook("10-drain", "sleep 2")
        second.hook("10-drain", '[ "$1" = recover ] || sleep 4')
        here.start()
        for machine in (first, second):
            machine.metadata.inject_fault(InjectedFault(delay_s=2.5), method="POST", times=1)
        own = here.freeze("vm-3", notice_s=300.0)
        third.until(lambda: here.metadata.status_of(own) == "Started", PATIENCE_S)
        both = here.freeze("vm-1", "vm-2", notice_s=300.0)
        done = False

        def meets(name: str, machines: list[World]) -> None:
            nonlocal done
            if name == step:
                machines[0].until(lambda: any(status(one) == STEPS[name] for one in machines), PATIENCE_S)
                fault(here)
                done = True

        meets("waiting", [first])
        closes(here, own, third)
        for name in ("preparing", "ready", "claimed"):
            meets(name, [first, second] if name == "claimed" else [first])
        began = time.monotonic()
        first.until(lambda: here.metadata.status_of(both) == "Started", PATIENCE_S)
        waited_s = time.monotonic() - began
        meets("started", [first])
        here.metadata.remove_event(both)
        meets("recovering", [first])
        for machine in (first, second):
            reaches(machine, "closed")
        first.until(lambda: is_clean(here), PATIENCE_S)
        assert done and len(here.acknowledgements(both)) == 1 and here.acknowledgements(own) == ["vm-3"]
        spans = sorted([away([first, second]), away([third])])
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
        assert all(machine.begun() == ["drain prepare", "drain recover"] for machine in here.machines)
        assert not [line for machine in here.machines for line in machine.said().splitlines() if " lost" in line and "slot" in line]
        print(f"\n{fault.__name__} at {step}: acknowledged {waited_s:.1f} s later; all closed, the store is clean")


# --- takeovers (test plan 3 and 4)

def test_a_dead_holder_is_replaced_after_takeover_and_not_before_and_when_it_is_back_it_acknowledges_nothing(tmp_path: Path) -> None:
    with fleet(tmp_path, machines=2, members=3) as here:
        here.configure('slots = 1\ntakeover = "1m"')
        here.start()
        first, second = here.machines
        held = here.freeze("vm-1")
        reaches(first, "acknowledged", "started")
        waits = here.freeze("vm-2")
        reaches(second, "waiting-for-slot")
        first.kill()
        killed = time.monotonic()
        while (silent_s := time.monotonic() - killed) < 50.0:
            assert here.acknowledgements(waits) == [], f"taken over after {silent_s:.0f} s"
            time.sleep(0.5)
        second.until(lambda: here.acknowledgements(waits), 90.0)
        print(f"\ntaken over {time.monotonic() - killed:.0f} s after the death")
        assert "slot taken over" in what(second)
        [holder] = holders(here)
        assert holder.taken_from == ("vm-1",)
        first.start(asks=False)
        first.until(lambda: {one.granted for one in holders(here)} == {True, False})
        assert here.acknowledgements(held) == ["vm-1"], "what it had sent before; nothing since"
        closes(here, held, first)
        closes(here, waits, second)
        assert first.begun() == second.begun() == ["drain prepare", "drain recover"]
        first.until(lambda: is_clean(here))


def test_an_outage_longer_than_takeover_is_no_silence(tmp_path: Path) -> None:
    with fleet(tmp_path, machines=2, members=3) as here:
        here.configure('slots = 1\ntakeover = "1m"')
        here.start()
        first, second = here.machines
        held = here.freeze("vm-1")
        reaches(first, "acknowledged", "started")
        here.freeze("vm-2")
        reaches(second, "waiting-for-slot")
        for member in here.cluster.members:
            member.kill()
        time.sleep(75.0)
        for member in here.cluster.members:
            member.start()
        until_it_works(lambda: holders(here))
        time.sleep(10.0)
        [holder] = holders(here)
        assert [*holder.members] == ["vm-1"] and holder.granted and status(second) == "waiting-for-slot" and second.begun() == []
        closes(here, held, first)
        reaches(second, "acknowledged", "started")


def test_a_waiting_machine_that_is_stopped_together_with_the_holder_takes_nothing_over(tmp_path: Path) -> None:
    with fleet(tmp_path, machines=2, members=3) as here:
        here.configure('slots = 1\ntakeover = "1m"')
        here.start()
        first, second = here.machines
        held = here.freeze("vm-1", "vm-9")          # which has no agent: the slot is held until the event is removed
        reaches(first, "waiting-for-peers")
        here.freeze("vm-2")
        reaches(second, "waiting-for-slot")
        time.sleep(3.0)
        with second.stopped():
            with first.stopped():
                time.sleep(75.0)
        time.sleep(5.0)
        [holder] = holders(here)
        assert [*holder.members] == ["vm-1"] and second.begun() == []
        closes(here, held, first)
        reaches(second, "acknowledged", "started")


# --- one machine alone

@pytest.mark.parametrize("mode", ["refuses", "swallow", "half"])
def test_a_machine_that_is_cut_off_holds_alone_and_what_it_wrote_before_counts(mode: str, tmp_path: Path) -> None:
    """vm-1 is ready before it is cut off: the others acknowledge. Its recovery by hand is told as not written."""
    with fleet(tmp_path, members=3) as here:
        here.configure()
        first, second, _ = here.machines
        with proxied(here.cluster.members[0].client_port) as proxy:
            first.configure(f'[fleet]\nstore = "etcd://{proxy.url.removeprefix("http://")}"\n')
            second.hook("10-drain", '[ "$1" = recover ] || sleep 12')
            here.start()
            event = here.freeze(*ALL)
            first.until(lambda: (found := shared_events(here)) and "vm-1" in found[0].members and found[0].members["vm-1"].state == "ready")
            if mode == "refuses":
                proxy.shut()
            else:
                proxy.mode = mode
                proxy.cut()
            time.sleep(6.0)
            assert first.command("recover", "--yes").returncode in (0, 1)
            first.until(lambda: any("store cannot be used, and still says" in (row.get("note") or "") for row in first.record()["timeline"]))
            second.until(lambda: len(here.acknowledgements(event)) == 1)
            assert here.acknowledgements(event) != ["vm-1"]
            first.until(lambda: first.begun()[-1] == "drain recover")
            later = here.freeze("vm-1", "vm-2")
            second.until(lambda: status(second) == "waiting-for-peers")
            time.sleep(3.0)
            assert here.acknowledgements(later) == []


def test_one_that_refuses_keeps_an_event_from_being_acknowledged_and_all_see_who_and_why(tmp_path: Path) -> None:
    with fleet(tmp_path, members=3) as here:
        here.configure()
        here.machines[1].hook("10-drain", '[ "$1" = recover ] || exit 1')
        here.start()
        event = here.freeze(*ALL)
        for machine in (here.machines[0], here.machines[2]):
            machine.until(lambda machine=machine: "vm-2" in machine.ask("status")["waiting_for"])
            print(f"\n{machine.ask('status')['waiting_for']}")
        reaches(here.machines[1], "held")
        assert here.acknowledgements(event) == []
        closes(here, event, *here.machines)
        assert all(machine.begun() == ["drain prepare", "drain recover"] for machine in here.machines)


def test_an_event_first_seen_started_is_entered_so_that_others_wait(tmp_path: Path) -> None:
    with fleet(tmp_path, machines=2, members=3) as here:
        here.configure("slots = 1")
        here.start()
        first, second = here.machines
        away_now = here.metadata.add_event("Freeze", resources=("vm-1",), duration_s=5, started=True)
        first.until(lambda: [one.granted for one in holders(here)] == [False])
        event = here.freeze("vm-2")
        reaches(second, "waiting-for-slot")
        time.sleep(3.0)
        assert second.begun() == []
        closes(here, away_now, first)
        reaches(second, "acknowledged", "started")
        closes(here, event, second)
        first.until(lambda: is_clean(here))


def test_a_machine_rebuilt_under_its_old_name_replaces_the_old_entries(tmp_path: Path) -> None:
    """The old one has died with its slot: the new one has its own, at once."""
    with fleet(tmp_path, machines=2, members=3) as here:
        here.configure("slots = 1")
        here.start()
        first, _ = here.machines
        here.freeze("vm-1")
        reaches(first, "acknowledged", "started")
        first.kill()
        here.metadata.remove_event(here.metadata.listed()[0])
        first.metadata.vm_id = "99999999-2222-3333-4444-555555555555"
        for folder in ("state", "run"):
            shutil.rmtree(first.home / folder)
        first.start(asks=False)
        first.until(lambda: sum(b'"vm-1"' in one.value for one in here.cluster.store().list("v1/members/")) == 2)
        told = first.command("fleet", "release", "vm-1", "--yes")
        assert told.returncode == 0, told.stderr + told.stdout
        again = here.freeze("vm-1")
        first.until(lambda: here.acknowledgements(again) == ["vm-1"])


def test_a_key_that_holds_something_else_is_never_overwritten_and_is_named(tmp_path: Path) -> None:
    with fleet(tmp_path, machines=1, members=3) as here:
        here.configure("slots = 1", QUICK)
        store = here.cluster.store()
        store.put(slots_key("default"), b"of another program", None)
        here.start()
        [first] = here.machines
        event = here.freeze("vm-1", notice_s=12.0)
        reaches(first, "held")
        assert slots_key("default") in first.said() and here.acknowledgements(event) == []
        assert slots_key("default") in first.command("doctor").stdout or slots_key("default") in first.command("fleet", "status").stdout
        found = store.get(slots_key("default"))
        assert found is not None and found.value == b"of another program"
        store.put(slots_key("default"), json.dumps({"schema": 2, "holders": []}).encode(), found.revision)
        first.until(lambda: "newer version" in json.dumps(first.ask("status")))
        closes(here, event, first)
        assert first.begun() == ["drain prepare", "drain recover"]


# --- the store's contents

def restored(here: Fleet, backup: Path) -> None:
    """All members begin again with what the backup has."""
    members: list[EtcdMember] = here.cluster.members
    for member in members:
        member.kill()
        shutil.rmtree(member.data)
        here.cluster.control("snapshot", "restore", str(backup), "--data-dir", str(member.data), "--name", member.name,
                             "--initial-cluster", member.cluster, "--initial-advertise-peer-urls", member.peer_url)
    for member in members:
        member.start()
    until_it_works(lambda: here.cluster.store().list("v1/"))


@pytest.mark.parametrize("backup", ["of before", "empty"])
def test_after_a_restore_a_holder_is_entered_as_not_granted_and_nothing_is_acknowledged_from_memory(backup: str, tmp_path: Path) -> None:
    """vm-1 has its slot and vm-2 is not ready yet when the store goes back to a time before both."""
    with fleet(tmp_path, machines=2, members=3) as here:
        here.configure("slots = 1")
        first, second = here.machines
        second.hook("10-drain", f'[ "$1" = recover ] || [ -e {tmp_path}/go ] || while [ ! -e {tmp_path}/go ]; do sleep 0.1; done')
        if backup == "of before":
            here.start()
            first.until(lambda: len(here.cluster.store().list("v1/members/")) == 2)
        here.cluster.control("snapshot", "save", str(tmp_path / "backup"))
        if backup == "empty":
            here.start()
        event = here.freeze("vm-1", "vm-2")
        reaches(first, "waiting-for-peers")
        restored(here, tmp_path / "backup")
        first.until(lambda: [one.granted for one in holders(here)] == [False], PATIENCE_S)
        (tmp_path / "go").touch()
        second.until(lambda: [line[2] for line in second.lines()] == ["prepare", "prepare-ended"])
        time.sleep(5.0)
        assert here.acknowledgements(event) == []
        assert any("restored" in (row.get("note") or "") for row in first.record()["timeline"])
        closes(here, event, first, second)
        first.until(lambda: is_clean(here))


def test_an_idle_machine_gives_back_what_a_restored_store_shows_of_it(tmp_path: Path) -> None:
    """Its process began while an event of other machines was open. It looks half a minute after a start."""
    with fleet(tmp_path, machines=2, members=3) as here:
        here.configure('slots = 1\ntakeover = "never"')
        here.start()
        first, second = here.machines
        past = here.freeze("vm-1")
        first.until(lambda: here.metadata.status_of(past) == "Started")
        here.cluster.control("snapshot", "save", str(tmp_path / "backup"))
        closes(here, past, first)
        here.freeze("vm-9")
        reaches(first, "observed")
        first.agents[-1].terminate()
        first.agents[-1].wait()
        restored(here, tmp_path / "backup")
        assert len(holders(here)) == 1
        first.start(asks=False)
        waits = here.freeze("vm-2")
        reaches(second, "waiting-for-slot")
        began = time.monotonic()
        second.until(lambda: here.acknowledgements(waits) == ["vm-2"], 90.0)
        print(f"\ngiven back {time.monotonic() - began:.0f} s after the restart")
        closes(here, waits, second)
        first.until(lambda: is_clean(here))


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Fleet]:
    with fleet(tmp_path, machines=2, members=3, flags=["--quota-backend-bytes=2097152"]) as here:
        here.configure("slots = 1", QUICK)
        here.start()
        yield here


def test_a_full_database_is_told_with_the_cure_and_slots_are_given_back_after_it(full: Fleet) -> None:
    first, second = full.machines
    held = full.freeze("vm-1")
    first.until(lambda: full.metadata.status_of(held) == "Started")
    waits = full.freeze("vm-2")
    reaches(second, "waiting-for-slot")
    store, revision = full.cluster.store(), None
    with pytest.raises(StoreFailed, match="compaction"):
        for _ in range(64):
            revision = store.put("v1/filler", os.urandom(100_000), revision)
    closes(full, held, first)
    time.sleep(6.0)
    assert full.acknowledgements(waits) == [] and "compaction" in first.command("fleet", "status").stdout + first.said()
    newest = json.loads(full.cluster.control("get", "x", "-w", "json"))["header"]["revision"]
    full.cluster.control("compaction", str(newest))
    full.cluster.control("defrag", "--cluster")
    full.cluster.control("alarm", "disarm")
    second.until(lambda: full.acknowledgements(waits) == ["vm-2"], PATIENCE_S)
    closes(full, waits, second)
    first.until(lambda: is_clean(full))


# --- configurations

def test_where_the_store_is_down_and_a_slot_is_waived_only_a_single_event_is_acknowledged(tmp_path: Path) -> None:
    with fleet(tmp_path, members=3) as here:
        here.configure('slots = 1\non_unreachable = "proceed"', QUICK)
        here.start()
        for member in here.cluster.members:
            member.kill()
        own, both = here.freeze("vm-3", notice_s=20.0), here.freeze("vm-1", "vm-2", notice_s=20.0)
        first, second, third = here.machines
        third.until(lambda: here.acknowledgements(own) == ["vm-3"], PATIENCE_S)
        for machine in (first, second):
            reaches(machine, "held", "waiting-for-peers")
            assert machine.begun() == ["drain prepare"]
        here.metadata.start_event(both)
        assert here.acknowledgements(both) == []
        closes(here, both, first, second)
        closes(here, own, third)
        for member in here.cluster.members:
            member.start()
        first.until(lambda: is_clean(here), PATIENCE_S)


def test_members_that_disagree_on_slots_obey_their_own_and_status_and_doctor_name_them(tmp_path: Path) -> None:
    """Two for vm-1 and one for vm-2: what vm-1 has leaves none for vm-2, and vm-1 enters beside vm-2."""
    with fleet(tmp_path, machines=2, members=3) as here:
        here.configure("slots = 1")
        first, second = here.machines
        first.configure(f'[fleet]\nstore = "{here.cluster.setting}"\nslots = 2\n')
        here.start()
        first.until(lambda: len(here.cluster.store().list("v1/members/")) == 2)
        for command in (("fleet", "status"), ("doctor",)):
            told = " ".join(first.command(*command).stdout.split())
            assert "disagree on fleet.slots: vm-2 has 1; vm-1 has 2" in told, told
        held = here.freeze("vm-2")
        reaches(second, "acknowledged", "started")
        beside = here.freeze("vm-1")
        reaches(first, "acknowledged", "started")
        closes(here, held, second)
        again = here.freeze("vm-2")
        reaches(second, "waiting-for-slot")
        closes(here, beside, first)
        reaches(second, "acknowledged", "started")
        closes(here, again, second)
