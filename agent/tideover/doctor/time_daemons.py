"""Which of chrony's settings hurt after a pause in which the clock stood still (chrony.conf(5))."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tideover.clock.daemons.chrony_configuration import MAIN, directives
from tideover.doctor.machine import Machine
from tideover.wording import length_text

ASKED = ("server", "pool", "peer")
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
class Hardship:
    """One setting that hurts, and what to write instead. `can_be_remedied`: measuring afresh helps as well."""

    what: str
    do: str
    can_be_remedied: bool = True


class Hardships:
    """Given the machine, what its chrony's configuration makes of a pause."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        main = next(filter(machine.has_file, _main_files(machine)), None)
        self.is_known = main is not None
        self._directives = list(directives(machine.surroundings, main)) if main else []

    def found(self, hardware: Iterable[str]) -> Iterator[Hardship]:
        """Given the hypervisor's clocks that are here, yield what hurts."""
        if not self.is_known:
            yield Hardship("chrony runs, and its configuration cannot be found or read here",
                           "Run this once more with sudo.", False)
            return
        yield from self._step()
        yield from self._poll()
        yield from self._clocks(hardware)

    def _step(self) -> Iterator[Hardship]:
        said = self._of("makestep")
        do = "makestep 1.0 -1 in chrony.conf."
        if not said:
            yield Hardship("chrony never steps the clock (no makestep): it takes it minutes to catch up on a pause", do)
        elif _number(said[-1][1:2], 0.0) >= 0:
            yield Hardship("chrony steps the clock only in its first updates after a start "
                           f"(makestep {' '.join(said[-1])}): later it takes it minutes to catch up on a pause", do)

    def _poll(self) -> Iterator[Hardship]:
        polls = [_option(words, "maxpoll", DEFAULT_MAXPOLL) for name in ASKED for words in self._of(name)]
        polls += [_option(words, "poll", DEFAULT_CLOCK_POLL) for words in self._of("refclock")]
        jitter_s = _number(next(iter(self._of("maxjitter")[-1:]), []), DEFAULT_JITTER_S)
        if polls and min(polls) > LONG_POLL:
            some = f"; a pause longer than maxjitter ({length_text(jitter_s)}) costs five or six polls" \
                if jitter_s < LONGEST_PAUSE_S else ""
            yield Hardship(f"chrony measures every {length_text(2.0 ** min(polls))} when all is calm (maxpoll "
                           f"{min(polls):.0f}){some}", f"maxpoll {LONG_POLL} at its servers in chrony.conf.")

    def _clocks(self, hardware: Iterable[str]) -> Iterator[Hardship]:
        if any(words[:1] == ["PHC"] for words in self._of("refclock")):
            return
        for name in hardware:
            if name in REFERENCE_CLOCKS:
                yield Hardship(f"the hypervisor's clock is here ({name}) and chrony does not use it",
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
