"""The time daemons: which run, and which of their settings hurt after a pause in which the clock stood still."""
from __future__ import annotations

import sys

assert sys.platform != "win32"

from tideover.clock.daemons.chrony import Chrony
from tideover.clock.daemons.ntpd import Ntpd
from tideover.clock.daemons.timesyncd import Timesyncd
from tideover.clock.hardware import find_hardware
from tideover.doctor.chrony import Hardships
from tideover.doctor.findings import Finding, bad, good, note
from tideover.doctor.machine import Machine
from tideover.doctor.timesyncd import LONG_POLL_S, longest_poll_s
from tideover.settings import Settings
from tideover.wording import length_text

TOPIC = "time daemon"
# Short names of processes (proc(5): 15 characters) · the daemon
PROCESSES = {"chronyd": Chrony.name, "systemd-timesyn": Timesyncd.name, "ntpd": Ntpd.name}
REMEDY = ' Or set [clock] remedy = "daemon": then tideover tells it to measure afresh.'


def look_at_time_daemon(settings: Settings, machine: Machine, hypervisor: str) -> list[Finding]:
    """Given the settings, the machine and its hypervisor, say which time daemon keeps the clock, and how it takes a
    pause."""
    running = running_daemons(machine)
    if not running:
        return [_nothing_runs(hypervisor)]
    if len(running) > 1:
        return [bad(TOPIC, f"{' and '.join(running)} run at once and pull the clock against each other",
                    "Keep one of them.")]
    if settings.clock.remedy == "daemon" and running != [Ntpd.name]:
        return [good(TOPIC, f'{running[0]} runs, and [clock] remedy = "daemon" has it measure afresh after a pause')]
    return [good(TOPIC, f"{running[0]} runs"), *_hardships(running[0], machine)]


def running_daemons(machine: Machine) -> list[str]:
    """Given the machine, return the names of the time daemons that run, by process or by their own signs of life."""
    by_process = {PROCESSES[one.name] for one in machine.processes if one.name in PROCESSES}
    known = (Chrony(machine.surroundings), Timesyncd(machine.surroundings), Ntpd(machine.surroundings))
    return [one.name for one in known if one.name in by_process or one.is_running()]


def _nothing_runs(hypervisor: str) -> Finding:
    what = "no time daemon runs here (chrony, systemd-timesyncd and ntpd are known)"
    if hypervisor == "hyperv":
        return note(TOPIC, f"{what}: only the host puts the clock right after a pause, and now and then forgets it",
                    "Install chrony.")
    return bad(TOPIC, f"{what}: nobody puts the clock right after a pause, and recover may wait for it in vain",
               "Install chrony, or start the one that is there.")


def _hardships(running: str, machine: Machine) -> list[Finding]:
    if running == Chrony.name:
        hardware = [source.server for source in find_hardware(machine.surroundings)]
        return [note(TOPIC, one.what, one.do + (REMEDY if one.can_be_remedied else ""))
                for one in Hardships(machine).found(hardware)]
    if running == Timesyncd.name:
        poll_s = longest_poll_s(machine)
        if poll_s <= LONG_POLL_S:
            return []
        return [note(TOPIC, f"systemd-timesyncd measures every {length_text(poll_s)} when all is calm, and after a "
                            "pause in which the clock stood still it stays wrong until then",
                     f"PollIntervalMaxSec={LONG_POLL_S:.0f} under [Time] in /etc/systemd/timesyncd.conf.{REMEDY}")]
    return [note(TOPIC, "ntpd waits for 5 minutes by default before it believes a step (stepout), so the clock stays "
                        "wrong for that long after a pause", "Use chrony, or lower it: tinker stepout 10")]
