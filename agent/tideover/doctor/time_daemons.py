"""Doctor's findings about chrony, timesyncd and ntpd: settings that delay a correction after a pause."""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tideover.clock.daemons.chrony import MAIN, Chrony, read_directives
from tideover.clock.daemons.ntpd import Ntpd
from tideover.clock.daemons.timesyncd import Timesyncd, read_time_settings
from tideover.clock.sources import find_hardware
from tideover.doctor.machine import Machine
from tideover.findings import Finding, bad, good, remark
from tideover.humanize import length_text
from tideover.settings import Settings

# --- systemd-timesyncd: its poll interval (timesyncd.conf(5))

DEFAULT_POLL_S = 2048.0
LONG_POLL_S = 64.0           # of a wrong clock, about as long as the default [clock] deadline
# systemd.time(7): without a unit it is seconds
SPAN = re.compile(r"([0-9.]+)\s*([a-z]*)")
UNITS_S = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "hr": 3600.0, "d": 86400.0}


def longest_poll_s(machine: Machine) -> float:
    """Given the machine, return the longest interval between two measurements."""
    set_last = [value for key, value in read_time_settings(machine.surroundings) if key == "PollIntervalMaxSec"][-1:]
    return (_seconds(set_last[0]) if set_last else 0.0) or DEFAULT_POLL_S


def _seconds(span: str) -> float:
    try:
        return sum(float(number) * UNITS_S[unit] for number, unit in SPAN.findall(span))
    except (KeyError, ValueError):
        return 0.0


# --- chrony: settings that hurt after a pause in which the clock did not advance (chrony.conf(5))

QUERIES = ("server", "pool", "peer")
DEFAULT_MAXPOLL = 10         # 2**10 s
DEFAULT_CLOCK_POLL = 4       # of a reference clock
LONG_POLL = 6                # 2**6 s: five or six of them are six minutes of a wrong clock
DEFAULT_JITTER_S = 1.0
LONGEST_PAUSE_S = 30.0       # of a VM that Azure updates (learn.microsoft.com, maintenance for virtual machines)
REFERENCE_CLOCKS = {         # what find_hardware calls it · a line of chrony's for it (for Hyper-V: Azure's own advice)
    "ptp_hyperv": "refclock PHC /dev/ptp_hyperv poll 3 dpoll -2 offset 0 stratum 2",
    "ptp_kvm": "refclock PHC /dev/ptp_kvm poll 2",
}


@dataclass(frozen=True, slots=True)
class ChronyProblem:
    """One setting that hurts, and what to write instead. `can_be_remedied`: a new measurement helps as well."""

    what: str
    do: str
    can_be_remedied: bool = True


class ChronyProblems:
    """Given the machine, what its chrony's configuration makes of a pause."""

    def __init__(self, machine: Machine) -> None:
        main = next(filter(machine.has_file, _main_files(machine)), None)
        self.is_known = main is not None
        self._directives = list(read_directives(machine.surroundings, main)) if main else []

    def found(self, hardware: Iterable[str]) -> Iterator[ChronyProblem]:
        """Given the hypervisor's clocks that are here, yield what hurts."""
        if not self.is_known:
            yield ChronyProblem("chrony runs, but its configuration cannot be found or read",
                           "Run this again with sudo.", False)
            return
        yield from self._step()
        yield from self._poll()
        yield from self._clocks(hardware)

    def _step(self) -> Iterator[ChronyProblem]:
        values = self._of("makestep")
        do = "makestep 1.0 -1 in chrony.conf."
        if not values:
            yield ChronyProblem("chrony never steps the clock (no makestep): it needs minutes to correct the clock "
                                "after a pause", do)
        elif _number(values[-1][1:2], 0.0) >= 0:
            yield ChronyProblem("chrony steps the clock only in its first updates after a start "
                           f"(makestep {' '.join(values[-1])}): later it needs minutes to correct the clock after a "
                           "pause", do)

    def _poll(self) -> Iterator[ChronyProblem]:
        polls = [_option(words, "maxpoll", DEFAULT_MAXPOLL) for name in QUERIES for words in self._of(name)]
        polls += [_option(words, "poll", DEFAULT_CLOCK_POLL) for words in self._of("refclock")]
        jitter_s = _number(next(iter(self._of("maxjitter")[-1:]), []), DEFAULT_JITTER_S)
        if polls and min(polls) > LONG_POLL:
            some = f"; a pause longer than maxjitter ({length_text(jitter_s)}) costs five or six polls" \
                if jitter_s < LONGEST_PAUSE_S else ""
            yield ChronyProblem(f"chrony measures every {length_text(2.0 ** min(polls))} at its longest interval "
                                "(maxpoll "
                           f"{min(polls):.0f}){some}", f"maxpoll {LONG_POLL} at its servers in chrony.conf.")

    def _clocks(self, hardware: Iterable[str]) -> Iterator[ChronyProblem]:
        if any(words[:1] == ["PHC"] for words in self._of("refclock")):
            return
        for name in hardware:
            if name in REFERENCE_CLOCKS:
                yield ChronyProblem(f"the hypervisor's clock is available ({name}) and chrony does not use it",
                               f"{REFERENCE_CLOCKS[name]} in chrony.conf.", False)

    def _of(self, directive: str) -> list[list[str]]:
        return [words for name, words in self._directives if name == directive]


def _main_files(machine: Machine) -> Iterator[str]:
    """The file that chronyd was started with (-f), else the usual ones."""
    for process in machine.processes:
        if process.name == "chronyd" and "-f" in process.words[:-1]:
            yield process.words[process.words.index("-f") + 1]
    yield from MAIN


def _option(words: list[str], name: str, usual: float) -> float:
    lower = [word.lower() for word in words]
    return _number(lower[lower.index(name) + 1:], usual) if name in lower else usual


def _number(words: list[str], usual: float) -> float:
    try:
        return float(words[0]) if words else usual
    except ValueError:
        return usual


# --- Checks

TOPIC = "time daemon"
# Names of processes · the daemon. The kernel keeps 15 characters (proc(5)), psutil adds the rest where it may.
PROCESSES = {"chronyd": Chrony.name, "systemd-timesyn": Timesyncd.name, "systemd-timesyncd": Timesyncd.name,
             "ntpd": Ntpd.name}
REMEDY = ' Or set [clock] remedy = "daemon": tideover then makes it measure again after a pause.'


def check_time_daemon(settings: Settings, machine: Machine, hypervisor: str) -> list[Finding]:
    """Given the settings, the machine and its hypervisor, say which time daemon keeps the clock, and how it takes a
    pause."""
    running = running_daemons(machine)
    if not running:
        return [_nothing_runs(hypervisor)]
    if len(running) > 1:
        return [bad(TOPIC, f"{' and '.join(running)} run at the same time and adjust the same clock",
                    "Keep one of them.")]
    if settings.clock.remedy == "daemon" and running != [Ntpd.name]:
        return [good(TOPIC, f'{running[0]} runs, and [clock] remedy = "daemon" makes it measure again after a pause')]
    return [good(TOPIC, f"{running[0]} runs"), *_chrony_problems(running[0], machine)]


def running_daemons(machine: Machine) -> list[str]:
    """Given the machine, return the names of the time daemons that run, by process or by their own signs of life."""
    by_process = {PROCESSES[one.name] for one in machine.processes if one.name in PROCESSES}
    known = (Chrony(machine.surroundings), Timesyncd(machine.surroundings), Ntpd(machine.surroundings))
    return [one.name for one in known if one.name in by_process or one.is_running()]


def _nothing_runs(hypervisor: str) -> Finding:
    what = "no time daemon is running (chrony, systemd-timesyncd and ntpd are known)"
    if hypervisor == "hyperv":
        return remark(TOPIC, f"{what}: only the host corrects the clock after a pause, and sometimes it does not",
                    "Install chrony.")
    return bad(TOPIC, f"{what}: nothing corrects the clock after a pause, and recovery may wait for it until "
                      "clock.deadline",
               "Install chrony, or start the installed time daemon.")


def _chrony_problems(running: str, machine: Machine) -> list[Finding]:
    if running == Chrony.name:
        hardware = [source.server for source in find_hardware(machine.surroundings)]
        return [remark(TOPIC, one.what, one.do + (REMEDY if one.can_be_remedied else ""))
                for one in ChronyProblems(machine).found(hardware)]
    if running == Timesyncd.name:
        poll_s = longest_poll_s(machine)
        if poll_s <= LONG_POLL_S:
            return []
        return [remark(TOPIC, f"systemd-timesyncd measures every {length_text(poll_s)} at its longest interval, and "
                              "after a "
                            "pause that stopped the clock it stays wrong until then",
                     f"PollIntervalMaxSec={LONG_POLL_S:.0f} under [Time] in /etc/systemd/timesyncd.conf.{REMEDY}")]
    return [remark(TOPIC, "ntpd waits for 5 minutes by default before it accepts a step (stepout), so the clock stays "
                        "wrong for that long after a pause", "Use chrony, or lower it: tinker stepout 10")]
