"""Every way in which the lab pauses a machine, each with the truth about it: the hypervisor's own event times."""
from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from .ground import LabError
from .machine import Machine
from .stage import Stage

LONGEST_S = 60.0

# QEMU stops the clocks before it says STOP and starts them after RESUME (softmmu/cpus.c do_vm_stop, vm_prepare_start):
# the clocks stood still a little longer than the events say, 1 to 2 ms here.
CLOCKS_STOOD_LONGER_S = 0.003
TOLD_IN_S = 0.001                    # lengths and bounds are told in milliseconds, each rounded


@dataclass(frozen=True, slots=True)
class Truth:
    """When the machine was paused, in seconds since the epoch by the host."""

    stopped_at: float
    resumed_at: float

    @property
    def length_s(self) -> float:
        return self.resumed_at - self.stopped_at

    def is_within(self, claimed_s: float, uncertainty_s: float) -> bool:
        """Given a claim, return whether the truth lies in its bounds, as far as the events tell the truth."""
        most_s = uncertainty_s + TOLD_IN_S
        return -most_s <= claimed_s - self.length_s <= most_s + CLOCKS_STOOD_LONGER_S


def stop_and_continue(machine: Machine, length_s: float) -> Truth:
    """Stop the processors and all clocks of the machine for so long (QMP stop, cont)."""
    machine.monitor.forget()
    machine.monitor.ask("stop")
    stopped = machine.monitor.time_of("STOP")
    time.sleep(length_s)
    machine.monitor.ask("cont")
    return Truth(stopped, machine.monitor.time_of("RESUME"))


def stop_the_hypervisor(machine: Machine, length_s: float) -> Truth:
    """Stop the hypervisor's process for so long: the guest's counters run on. There is no event: the signals' times."""
    os.kill(machine.process.pid, signal.SIGSTOP)
    while not _is_stopped(machine.process.pid):
        time.sleep(0.001)
    stopped = time.time()
    time.sleep(length_s)
    resumed = time.time()
    os.kill(machine.process.pid, signal.SIGCONT)
    return Truth(stopped, resumed)


def migrate(stage: Stage, source: Machine, held_s: float) -> tuple[Machine, Truth]:
    """Move the running machine into a second hypervisor process, holding the switch-over for so long."""
    socket = stage.directory / f"{source.plan.name}.migration"
    target = stage.start(incoming=f"unix:{socket}")
    source.monitor.forget()
    for machine in (source, target):
        machine.monitor.ask("migrate-set-capabilities",
                            capabilities=[{"capability": "pause-before-switchover", "state": True}])
    source.monitor.ask("migrate-set-parameters", **{"max-bandwidth": 2 << 30, "downtime-limit": 500})
    source.monitor.ask("migrate", uri=f"unix:{socket}")
    _wait_for(source, "pre-switchover")
    stopped = source.monitor.time_of("STOP")
    time.sleep(held_s)
    source.monitor.ask("migrate-continue", state="pre-switchover")
    resumed = target.monitor.time_of("RESUME")
    _wait_for(source, "completed")
    stage.end(source)
    return target, Truth(stopped, resumed)


def save_and_restore(stage: Stage, machine: Machine, away_s: float) -> tuple[Machine, Truth]:
    """Write the machine's memory to a file, end its hypervisor, and start it again from the file so much later."""
    file = stage.directory / f"{machine.plan.name}.memory"
    machine.monitor.forget()
    stopped = save(machine, file)
    stage.end(machine)
    time.sleep(max(0.0, away_s - (time.time() - stopped)))
    restored, resumed = restore(stage, file)
    file.unlink()
    return restored, Truth(stopped, resumed)


def save(machine: Machine, file: Path) -> float:
    """Stop the machine and write its memory to the file; return when it stopped."""
    machine.monitor.ask("stop")
    stopped = machine.monitor.time_of("STOP")
    machine.monitor.ask("migrate-set-parameters", **{"max-bandwidth": 4 << 30})
    # With the hold of a live migration left on, a save waits for ever.
    machine.monitor.ask("migrate-set-capabilities",
                        capabilities=[{"capability": "pause-before-switchover", "state": False}])
    machine.monitor.ask("migrate", uri=f"exec:cat >{file}")
    _wait_for(machine, "completed")
    return stopped


def restore(stage: Stage, file: Path) -> tuple[Machine, float]:
    """Given a saved machine's memory, let it run on; return it, and when it did."""
    machine = stage.start(incoming=f"exec:cat {file}")
    until = time.monotonic() + LONGEST_S
    while machine.monitor.ask("query-status")["status"] == "inmigrate":
        if time.monotonic() > until:
            raise LabError(f"{machine.plan.name} was not restored in {LONGEST_S:.0f} s")
        time.sleep(0.005)
    if not machine.monitor.ask("query-status")["running"]:
        machine.monitor.ask("cont")
    return machine, machine.monitor.time_of("RESUME")


def _wait_for(machine: Machine, status: str) -> None:
    until = time.monotonic() + LONGEST_S
    while (now := machine.monitor.ask("query-migrate").get("status")) != status:
        if now in ("failed", "cancelled") or time.monotonic() > until:
            raise LabError(f"the migration of {machine.plan.name} is {now}, not {status}")
        time.sleep(0.005)


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
