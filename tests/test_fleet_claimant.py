"""The machine that is to acknowledge a shared event is stopped on the way: after the store has confirmed its claim, or after
its last look at how old that is. Three agents as processes and a real etcd."""
from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet_agents import Fleet, fleet
from real_etcd import need
from running_agent import World, environment
from tideover.fleet_documents import Claim, decode_event

pytestmark = [pytest.mark.slow]

REPLACED_WITHIN_S = 60.0

# The agent, which notes each of three steps of an acknowledgement and stops itself at the first one of the name it is given.
AGENT = """
import signal, sys, threading, time
from tideover.cli import main
from tideover.lifecycle.fleet_session import FleetSessions
from tideover.sources.azure import AzureSource
from tideover.sources.poller import Acknowledger
configuration, notes, stop_at = sys.argv[1:]
stopped = []
def before(owner, name, step):
    do = getattr(owner, name)
    def note_and_do(self, *given, **more):
        with open(notes, "a") as file:
            file.write(f"{time.time():.6f} {step}\\n")
        if step == stop_at and not stopped:
            stopped.append(step)
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)     # this thread goes no step further
        return do(self, *given, **more)
    setattr(owner, name, note_and_do)
before(FleetSessions, "confirm", "asked")
before(Acknowledger, "start", "confirmed")
before(AzureSource, "acknowledge", "sending")
sys.exit(main(["run", "--config", configuration]))
"""


class Claimant:
    """The first machine of a fleet, which claims because its hook ends last."""

    def __init__(self, machines: Fleet, stop_at: str) -> None:
        self.fleet, self.machine = machines, machines.machines[0]
        self._notes, script = self.machine.home / "steps", self.machine.home / "agent.py"
        script.write_text(AGENT)
        with (self.machine.home / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen([sys.executable, str(script), str(self.machine.home / "tideover.toml"), str(self._notes), stop_at],
                                          env=environment(), stdout=log, stderr=log)
        self.machine.agents.append(self.agent)

    def steps(self) -> list[tuple[float, str]]:
        lines = self._notes.read_text().splitlines() if self._notes.exists() else []
        return [(float(at), step) for at, _, step in (line.partition(" ") for line in lines)]

    def is_stopped(self) -> bool:
        return Path(f"/proc/{self.agent.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def resume(self) -> float:
        self.agent.send_signal(signal.SIGCONT)
        return time.time()

    def claim(self) -> Claim:
        [stored] = self.fleet.cluster.store().list("v1/events/")
        claim = decode_event(stored.key, stored.value).acknowledgement
        assert claim is not None
        return claim


@contextmanager
def stopped_claimant(home: Path, stop_at: str) -> Iterator[tuple[Claimant, str]]:
    """A claimant that has just stopped itself, and the event."""
    need("etcd")
    with fleet(home) as three:
        three.configure()
        first, *others = three.machines
        first.hook("10-drain", '[ "$1" = recover ] || sleep 1')
        for machine in others:
            machine.hook("10-drain")
            machine.start(asks=False)
        claimant = Claimant(three, stop_at)
        for machine in three.machines:
            machine.until(lambda machine=machine: len(machine.metadata.requests) > 1)
        event = three.freeze("vm-1", "vm-2", "vm-3")
        first.until(claimant.is_stopped)
        assert three.acknowledgements(event) == [] and claimant.claim().by == "vm-1"
        yield claimant, event


def acknowledged_by(machines: Fleet) -> dict[str, str | None]:
    for machine in machines.machines:
        machine.until(lambda machine=machine: machine.record()["acknowledged_by"] is not None)
    return {machine.metadata.vm_name: machine.record()["acknowledged_by"] for machine in machines.machines}


def ends_well(machines: Fleet, event: str) -> None:
    machines.metadata.remove_event(event)
    for machine in machines.machines:
        machine.until(lambda machine=machine: machine.record()["status"] == "closed")
        assert machine.begun() == ["drain prepare", "drain recover"]
    machines.machines[0].until(lambda: not machines.cluster.store().list("v1/events/"))


def said(machine: World) -> list[str]:
    return [row["what"] for row in machine.record()["timeline"]]


@pytest.mark.parametrize("stopped_s", [1.5, 3.0])
def test_a_claimant_that_stops_between_its_look_at_the_store_and_the_request_looks_again_before_it_sends(stopped_s, tmp_path):
    with stopped_claimant(tmp_path, "confirmed") as (claimant, event):
        time.sleep(stopped_s)
        resumed = claimant.resume()
        claimant.machine.until(lambda: claimant.fleet.acknowledgements(event))
        *_, (asked, first), (_, then), (sent, last) = claimant.steps()
        assert (first, then, last) == ("asked", "confirmed", "sending")
        assert resumed - 0.01 < asked and sent - asked < 1.0, claimant.steps()
        assert claimant.fleet.acknowledgements(event) == ["vm-1"] and claimant.claim().n == 1
        ends_well(claimant.fleet, event)


def peer_that_replaced(claimant, event, stopped_s):
    """Wait until another machine has acknowledged in place of the one that was stopped then; return its name."""
    claimant.machine.until(lambda: claimant.fleet.acknowledgements(event), REPLACED_WITHIN_S)
    print(f"\nreplaced after {time.monotonic() - stopped_s:.1f} s")
    [peer] = claimant.fleet.acknowledgements(event)
    return peer


@pytest.mark.extra      # its claim is replaced after 30 s of silence
def test_a_claimant_that_is_stopped_before_its_last_look_reads_that_it_was_replaced_and_sends_nothing(tmp_path):
    with stopped_claimant(tmp_path, "confirmed") as (claimant, event):
        stopped = time.monotonic()
        peer = peer_that_replaced(claimant, event, stopped)
        claimant.resume()
        by = acknowledged_by(claimant.fleet)
        assert peer != "vm-1" and by == {name: "this machine" if name == peer else peer for name in by}
        assert "sending" not in [step for _, step in claimant.steps()] and claimant.claim().n == 2
        ends_well(claimant.fleet, event)
        assert claimant.fleet.acknowledgements(event) == [peer]


@pytest.mark.extra
def test_a_claimant_that_is_stopped_after_its_last_look_sends_a_second_acknowledgement_which_both_record(tmp_path):
    """No store can prevent it: the platform answers 200 to both."""
    with stopped_claimant(tmp_path, "sending") as (claimant, event):
        stopped = time.monotonic()
        peer = peer_that_replaced(claimant, event, stopped)
        claimant.machine.until(lambda: time.monotonic() - stopped > 35.0)
        claimant.resume()
        claimant.machine.until(lambda: len(claimant.fleet.acknowledgements(event)) == 2)
        claimant.machine.until(lambda: "acknowledgement accepted" in said(claimant.machine))    # it may read the other one's first
        by = acknowledged_by(claimant.fleet)
        third = next(machine.metadata.vm_name for machine in claimant.fleet.machines if machine.metadata.vm_name not in ("vm-1", peer))
        assert claimant.fleet.acknowledgements(event) == [peer, "vm-1"] and claimant.claim().n == 2
        assert by == {"vm-1": "this machine", peer: "this machine", third: peer}
        assert all("acknowledgement accepted" in said(machine) for machine in claimant.fleet.machines
                   if machine.metadata.vm_name in ("vm-1", peer))
        ends_well(claimant.fleet, event)


@pytest.mark.extra
def test_an_event_that_vanishes_while_it_is_claimed_is_recovered_and_a_late_acknowledgement_is_settled(tmp_path):
    """The platform answers 400 to an acknowledgement of an event that it does not list."""
    with stopped_claimant(tmp_path, "sending") as (claimant, event):
        claimant.fleet.metadata.remove_event(event)
        for machine in claimant.fleet.machines[1:]:
            machine.until(lambda machine=machine: machine.record()["status"] == "closed")
        claimant.resume()
        claimant.machine.until(lambda: any(request.method == "POST" for request in claimant.machine.metadata.requests))
        for machine in claimant.fleet.machines:
            machine.until(lambda machine=machine: machine.record()["status"] == "closed")
            assert machine.record()["outcome"] in ("cancelled", "missed") and machine.begun() == ["drain prepare", "drain recover"]
        assert claimant.fleet.acknowledgements(event) == []
        claimant.machine.until(lambda: not claimant.fleet.cluster.store().list("v1/events/"))
