"""Three agents as processes and one real etcd: what a fleet is for."""
from __future__ import annotations

import os
import time
from itertools import pairwise

import pytest

from fleet_agents import fleet
from real_etcd import need, until_it_works
from tideover.simulator.http import InjectedFault

pytestmark = [pytest.mark.slow]


@pytest.fixture(autouse=True)
def etcd():
    need("etcd")


def test_an_event_of_three_machines_is_acknowledged_once_when_all_are_prepared(tmp_path):
    with fleet(tmp_path) as three:
        three.configure()
        three.start()
        event = three.freeze("vm-1", "vm-2", "vm-3")
        first = three.machines[0]
        first.until(lambda: three.metadata.status_of(event) == "Started")
        assert len(three.acknowledgements(event)) == 1
        for machine in three.machines:
            machine.until(lambda machine=machine: machine.record()["acknowledged_by"] is not None)
        three.metadata.remove_event(event)
        for machine in three.machines:
            machine.until(lambda machine=machine: machine.record()["status"] == "closed")
            assert machine.begun() == ["drain prepare", "drain recover"]
        sender = three.acknowledgements(event)[0]
        named = {machine.metadata.vm_name: machine.record()["acknowledged_by"] for machine in three.machines}
        assert named == {name: "this machine" if name == sender else sender for name in named}
        left = three.cluster.store()
        first.until(lambda: not left.list("v1/events/"))


def test_of_three_machines_with_one_slot_never_two_are_away(tmp_path):
    """Each one's agent is stopped for as long as the platform would pause it; TIDEOVER_PAUSE_S=20 for the real length."""
    pause_s = float(os.environ.get("TIDEOVER_PAUSE_S", "3"))
    with fleet(tmp_path) as three:
        three.configure("slots = 1")
        three.start()
        events = {machine: three.freeze(machine.metadata.vm_name) for machine in three.machines}
        waiting, began = dict(events), time.monotonic()
        while waiting:
            assert time.monotonic() - began < 60 + 3 * pause_s, three.records()
            for machine, event in list(waiting.items()):
                if machine.metadata.status_of(event) == "Started":
                    with machine.stopped():
                        time.sleep(pause_s)
                    three.metadata.remove_event(event)
                    del waiting[machine]
            time.sleep(0.02)
        for machine, event in events.items():
            machine.until(lambda machine=machine: machine.record()["status"] == "closed"
                          and machine.lines()[-1][2] == "recover-ended")      # an event can be over while its recover still runs
            assert three.acknowledgements(event) == [machine.metadata.vm_name]
        away = sorted((float(machine.lines()[0][0]), float(machine.lines()[-1][0])) for machine in three.machines)
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(away)), away
        for machine in three.machines:
            steps = [line[2] for line in machine.lines()]
            assert steps == ["prepare", "prepare-ended", "recover", "recover-ended"], (machine.lines(), machine.said())


def test_without_a_slot_a_machine_prepares_at_the_last_moment_and_does_not_acknowledge(tmp_path):
    """Budget 1 s and reserve 1 s before NotBefore; the other machine keeps its slot all the time."""
    with fleet(tmp_path, machines=2) as two:
        two.configure("slots = 1", '[hooks]\ntimeout = "1s"\nreserve = "1s"\n')
        two.start()
        first, second = two.machines
        one = two.freeze("vm-1")
        first.until(lambda: two.metadata.status_of(one) == "Started")
        other = two.freeze("vm-2", notice_s=9.0)
        second.until(lambda: second.record()["status"] == "waiting-for-slot")
        assert second.begun() == []
        second.until(lambda: second.record()["status"] == "held")
        assert second.begun() == ["drain prepare"] and two.acknowledgements(other) == []
        said = [row["what"] for row in second.record()["timeline"]]
        assert "slot waited for" in said and "slot not granted" in said


def test_while_the_store_is_away_an_event_is_prepared_for_in_time_and_recovered(tmp_path):
    with fleet(tmp_path, machines=1) as alone:
        alone.configure("slots = 1", '[hooks]\ntimeout = "1s"\nreserve = "1s"\n')
        alone.start()
        [machine], [server] = alone.machines, alone.cluster.members
        server.kill()
        event = alone.freeze("vm-1", notice_s=10.0)
        machine.until(lambda: machine.record()["status"] == "held")
        assert machine.begun() == ["drain prepare"] and alone.acknowledgements(event) == []
        alone.metadata.remove_event(event)
        machine.until(lambda: machine.record()["status"] == "closed")
        assert machine.begun() == ["drain prepare", "drain recover"]
        server.start()
        store = alone.cluster.store()
        machine.until(lambda: until_it_works(lambda: store.list("v1/members/")))
        assert b'"event"' not in b"".join(one.value for one in store.list("v1/groups/"))


def test_an_acknowledgement_that_waits_for_the_store_is_sent_when_it_is_back(tmp_path):
    with fleet(tmp_path) as three:
        three.configure()
        three.start()
        [server] = three.cluster.members
        server.kill()
        event = three.freeze("vm-1", "vm-2", "vm-3")
        for machine in three.machines:
            machine.until(lambda machine=machine: machine.record()["status"] == "waiting-for-peers")
        time.sleep(1.0)
        assert three.acknowledgements(event) == []
        server.start()
        three.machines[0].until(lambda: three.acknowledgements(event))
        assert len(three.acknowledgements(event)) == 1


def test_an_event_that_names_a_machine_without_an_agent_is_not_acknowledged_and_status_names_it(tmp_path):
    with fleet(tmp_path, machines=2) as two:
        two.configure()
        two.start()
        event = two.freeze("vm-1", "vm-2", "vm-9")
        first = two.machines[0]
        first.until(lambda: first.record()["status"] == "waiting-for-peers")
        first.until(lambda: "vm-9: no agent" in first.ask("status")["waiting_for"])
        assert two.acknowledgements(event) == []
        assert first.command("acknowledge", "last", "--alone").returncode == 2, "it asks first"
        assert first.command("acknowledge", "last", "--alone", "--yes").returncode == 0
        assert two.acknowledgements(event) == ["vm-1"]


def test_a_claimant_whose_acknowledgement_is_refused_an_answer_passes_it_on(tmp_path):
    """Its metadata service answers polls and fails each acknowledgement: after 10 s another machine sends it."""
    with fleet(tmp_path) as three:
        three.configure()
        three.start()
        for machine in three.machines[:2]:
            machine.metadata.inject_fault(InjectedFault(status=503), method="POST", times=None)
        event = three.freeze("vm-1", "vm-2", "vm-3")
        three.machines[0].until(lambda: three.acknowledgements(event), 40.0)
        assert three.acknowledgements(event) == ["vm-3"]
        for machine in three.machines:
            machine.until(lambda machine=machine: machine.record()["acknowledged_by"] is not None)


def test_a_claimant_that_dies_is_replaced_after_half_a_minute_of_silence(tmp_path):
    """Killed while its acknowledgement hangs; the platform never took it."""
    with fleet(tmp_path) as three:
        three.configure()
        three.start()
        for machine in three.machines:
            machine.metadata.inject_fault(InjectedFault(status=503, delay_s=60.0), method="POST", times=1)
        event = three.freeze("vm-1", "vm-2", "vm-3")

        def claimants():
            return [machine for machine in three.machines if machine.record()["status"] == "acknowledging"]

        [first] = three.machines[0].until(claimants)
        first.kill()
        for machine in three.machines:
            machine.metadata.clear_faults()
        began = time.monotonic()
        second = next(machine for machine in three.machines if machine is not first)
        second.until(lambda: three.acknowledgements(event), 60.0)
        assert time.monotonic() - began > 20, "not before it was silent for long"
        assert len(three.acknowledgements(event)) == 1 and first.metadata.vm_name not in three.acknowledgements(event)
