"""What is done to the guest, and what the agent must answer. One row of CASES is one promise.

Two kinds of pause: in the one the guest's clocks stop with it and only outside time can show it, in the other
its counters run on. And what is no pause of the machine at all: a clock set by hand, a process that got no processor.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .blackouts import Truth, migrate, save_and_restore, stop_and_continue, stop_the_hypervisor
from .play import Play

# The owner's limits under emulation: half-widths of what is claimed, and resume to noticed (median over the runs).
STOOD_STILL_WITHIN_S, STOOD_STILL_SEEN_S = 0.060, 1.2
RAN_ON_WITHIN_S, RAN_ON_SEEN_S = 0.150, 0.3
MIGRATION_SEEN_S = 0.5

MIGRATION_HELD_S = 2.0               # longer than a threshold, shorter than patience
STEP_S = 5.0
STALL_S = 3.0
# Nothing else of that guest runs in this time: higher than every other task, and without the kernel's 5 % for others.
STARVE = f"""
sysctl -qw kernel.sched_rt_runtime_us=-1
python3 -c '
import os, time
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
until = time.monotonic() + {STALL_S}
while time.monotonic() < until: pass'
sysctl -qw kernel.sched_rt_runtime_us=950000
"""
STOP_AGENT = f"agent=$(systemctl show -P MainPID tideover); kill -STOP $agent; sleep {STALL_S}; kill -CONT $agent"


@dataclass(frozen=True, slots=True)
class Case:
    """`cause`: what the agent has to call it. `within_s`, `seen_within_s`: the limits of a stop's half-width and of the
    time from the resume to the word of it. `needs_outside_time`: no clock of the guest shows it."""

    name: str
    play: Callable[[Play], Truth]
    cause: str
    event_started: bool = False
    within_s: float = 0.0
    seen_within_s: float = 0.0
    needs_outside_time: bool = False


def _stop(play: Play) -> Truth:
    return stop_and_continue(play.machine, 10.0)


def _migrate(play: Play) -> Truth:
    play.machine, truth = migrate(play.stage, play.machine, MIGRATION_HELD_S)
    return truth


def _save(play: Play) -> Truth:
    play.machine, truth = save_and_restore(play.stage, play.machine, 20.0)
    return truth


def _stop_hypervisor(play: Play) -> Truth:
    return stop_the_hypervisor(play.machine, 10.0)


def _set_clock(play: Play) -> Truth:
    before = time.time()
    play.machine.run(f"date -s @$(( $(date +%s) + {STEP_S:.0f} ))")
    return Truth(before, before)


def _starve(play: Play) -> Truth:
    return _in_guest(play, STARVE)


def _stop_agent(play: Play) -> Truth:
    return _in_guest(play, STOP_AGENT)


def _in_guest(play: Play, script: str) -> Truth:
    play.machine.run(script)
    resumed = time.time()
    return Truth(resumed - STALL_S, resumed)


CASES = (
    Case("stop, continue", _stop, "vm-pause", True, STOOD_STILL_WITHIN_S, STOOD_STILL_SEEN_S, True),
    Case("live migration", _migrate, "vm-pause", True, STOOD_STILL_WITHIN_S, MIGRATION_SEEN_S, True),
    Case("save, restore", _save, "vm-pause", True, STOOD_STILL_WITHIN_S, STOOD_STILL_SEEN_S, True),
    Case("hypervisor stopped", _stop_hypervisor, "vm-pause", True, RAN_ON_WITHIN_S, RAN_ON_SEEN_S),
    Case("clock set", _set_clock, "clock-step"),
    Case("starved", _starve, "process-stall"),
    Case("agent stopped", _stop_agent, "process-stall"),
)
