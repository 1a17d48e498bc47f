"""Doctor's list of other programs that act on the platform's events or set the clock, and its findings about them."""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tideover.doctor.machine import Machine, ProcessInfo
from tideover.findings import Finding, good, remark

TOPIC = "others"
UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
                "/usr/lib/systemd/system", "/lib/systemd/system")
CLUSTER = "/var/lib/pacemaker/cib/cib.xml"
CLUSTER_AGENT = re.compile(r'type="azure-events(-az)?"')
WORDS_LOOKED_AT = 3          # the program, and the script that an interpreter or a launcher is given
# What is given a file to show or change it, not to run it.
READERS = frozenset({"cat", "emacs", "grep", "head", "less", "more", "nano", "tail", "vi", "view", "vim"})
DO = ("A second acknowledgement is harmless by itself, but it can let the event start before these hooks have "
      "finished: stop it, or disable its acknowledgements.")


@dataclass(frozen=True, slots=True)
class KnownProgram:
    """One such program: its name for people, and what its program, script or unit is called."""

    name: str
    pattern: re.Pattern[str]


KNOWN = tuple(KnownProgram(name, re.compile(pattern, re.IGNORECASE)) for name, pattern in (
    ("azure-scheduledevents-manager", r"azure-?scheduled-?events-?manager"),
    ("aks-node-termination-handler", r"aks-node-termination-handler"),
    ("drainsafe", r"drainsafe"),
    ("mechanic", r"mechanic"),
    ("node-problem-detector", r"node-problem-detector"),
    ("azure-events of Pacemaker", r"azure-events(-az)?(\.in)?"),
    ("the agent of Azure CycleCloud", r"jetpackd?"),
    ("aws-node-termination-handler", r"(aws-)?node-termination-handler"),
    # Microsoft's samples and what was made of them: scheduled_events.py, ScheduledEventsService …
    ("a client of Scheduled Events", r"(az|azure)?[-_.]?scheduled[-_.]?events?[a-z0-9_-]*(\.(py|sh|js|ps1|dll|exe))?"),
))


# github.com/GoogleCloudPlatform/guest-agent, clock.go: hwclock --hctosys when the drift token has changed.
CLOCK_SETTERS = (KnownProgram("Google's guest agent", re.compile(
    r"google_guest_agent(_manager)?|google-guest-agent(-manager)?|GCEWindowsAgent(\.exe)?", re.IGNORECASE)),)


def check_other_agents(machine: Machine) -> list[Finding]:
    """Given the machine, say which other programs acknowledge or act on events, or set its clock after them; each
    once."""
    setters: dict[str, str] = {}
    for name, where in (*_running(machine, CLOCK_SETTERS), *_units(machine, CLOCK_SETTERS)):
        setters.setdefault(name, where)
    return [*_check_acting(machine), *(
        remark(TOPIC, f"{name} {where}: after a live migration it sets the clock from the hardware clock, beside the "
                      "time daemon",
               "The clock is checked after each pause in any case. Where a time daemon corrects it well, that step can "
               "be disabled: clock_skew_daemon = false under [Daemons] of /etc/default/instance_configs.cfg.")
        for name, where in setters.items())]


def _check_acting(machine: Machine) -> list[Finding]:
    found: dict[str, str] = {}
    for name, where in (*_running(machine, KNOWN), *_units(machine, KNOWN), *_clustered(machine)):
        found.setdefault(name, where)
    return [remark(TOPIC, f"{name} {where}: it acknowledges events or acts on them, as tideover does", DO)
            for name, where in found.items()] or [
        good(TOPIC, "no other known program on this machine acknowledges events or acts on them")]


def _running(machine: Machine, programs: Iterable[KnownProgram]) -> Iterator[tuple[str, str]]:
    for process in machine.processes:
        name = _known_among(_called(process), programs)
        if name:
            yield name, f"runs (process {process.pid})"


def _called(process: ProcessInfo) -> list[str]:
    """The name may be cut at 15 characters and stands in the command line whole, unless there is none."""
    words = [word for word in process.words[:WORDS_LOOKED_AT] if word and not word.startswith("-")]
    if process.name in READERS:
        return words[:1]
    return words or [process.name]


def _units(machine: Machine, programs: Iterable[KnownProgram]) -> Iterator[tuple[str, str]]:
    """A unit counts by its own name, or by the program it starts."""
    for folder in UNIT_FOLDERS:
        for unit in machine.names_in(folder):
            if unit.endswith(".service"):
                starts = [word.lstrip("@-:+!") for line in machine.text(f"{folder}/{unit}").splitlines()
                          if line.startswith("ExecStart=") for word in line[10:].split()[:WORDS_LOOKED_AT]]
                name = _known_among([unit, *starts], programs)
                if name:
                    yield name, f"is installed (unit {unit})"


def _clustered(machine: Machine) -> Iterator[tuple[str, str]]:
    if CLUSTER_AGENT.search(machine.text(CLUSTER)):
        yield "azure-events of Pacemaker", "is a resource of this cluster"


def _known_among(words: list[str], programs: Iterable[KnownProgram]) -> str:
    names = [word.rpartition("/")[2].removesuffix(".service") for word in words]
    return next((known.name for known in programs for name in names if known.pattern.fullmatch(name)), "")
