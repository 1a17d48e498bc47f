"""The table of a hook's environment variables (TIDEOVER_…), and the markers by which its processes are found again."""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tideover.effects import RunHook
from tideover.errors import Refusal
from tideover.model import HookPhase, Kind, RunConditions, utc_text
from tideover.text_safety import drop_controls

# --- What a hook's process is started with

@dataclass(frozen=True, slots=True)
class UserAccount:
    """Whom it runs as. `change_to` is what must be given up for: (uid, gid, groups); None: we are that user already,
    as always on Windows."""

    name: str
    home: str
    change_to: tuple[int, int, tuple[int, ...]] | None = None


class UnusableAccountError(Exception):
    """Hooks cannot be run as that user."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class SpawnSpec:
    """Everything a hook's process is started with."""

    path: str
    arguments: tuple[str, ...]  # of a hook its phase
    environment: Mapping[str, str]
    directory: str
    record: bytes               # standard input
    account: UserAccount
    conditions: RunConditions
    ended_file: str             # made by the process that sees it end while no agent runs


# --- Process identity, and the markers of all processes of one run

@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process for good: numbers are used again, a number with its start is not.

    `start_ticks`: Linux, clock ticks since boot (proc(5), starttime); Windows, microseconds since 1970.
    """

    pid: int
    start_ticks: int

    def is_older_than(self, other: ProcessIdentity) -> bool:
        """Return whether it was started first. Linux gives numbers out upwards, which orders those of one tick."""
        return (self.start_ticks, self.pid) < (other.start_ticks, other.pid)


@dataclass(frozen=True, slots=True)
class RunFingerprint:
    """By what the processes of one run are known. On Windows its job's name follows from `environment`; of the rest
    only the leader is a clue there."""

    environment: frozenset[bytes]           # entries that it has, all of them (environ(7))
    leader: ProcessIdentity | None = None          # the hook's own process; None: not known
    channels: frozenset[str] = frozenset()  # what its standard input and output are, as /proc/PID/fd shows them
    supervisor: ProcessIdentity | None = None      # the parent of it and of what it detached; None: not known, or none
    group: str = ""                         # the run's control group (cgroups(7)); '': none


# --- Environment variables

# The kernel refuses to start a program for one string over 128 KiB (execve(2), MAX_ARG_STRLEN): a long event id must
# not stop a hook. Its exact text is on standard input.
VALUE_AT_MOST = 4096
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RUN_NAME, TRACE_NAME, DIRECTORY_NAME = "TIDEOVER_RUN", "TIDEOVER_TRACE_ID", "TIDEOVER_STATE_DIR"
DRILL_NAME = "TIDEOVER_DRILL"


@dataclass(frozen=True, slots=True)
class HookPaths:
    """Where a run happens: its user's home and its state directory; and what all runs of this agent are given."""

    home: str
    state_directory: str
    standing: Mapping[str, str]             # PATH, LANG …; the owner may set others for a hook
    owners: Mapping[str, str]               # what the owner sets for this hook; may be secret
    extra: Mapping[str, str]                 # further TIDEOVER_*; no other caller may set any


def encoded(text: str) -> bytes:
    """Given a text, return it as it stands in an environment, whatever the locale says."""
    return text.encode("utf-8", "surrogateescape")


def run_name(name: str, phase: str, run: int) -> str:
    """Given a hook's name, a phase and the number of the run, return the value of TIDEOVER_RUN."""
    return f"{name}:{phase}:{run}"


def environment_markers(run: str, trace_id: str, state_directory: str) -> frozenset[bytes]:
    """Given a run's name, its trace and its state directory, return the entries that only its environment has.

    All three: a second agent on this machine may run a hook of the same name for the same event.
    """
    marks = {RUN_NAME: drop_controls(run, VALUE_AT_MOST), TRACE_NAME: drop_controls(trace_id, VALUE_AT_MOST),
             DIRECTORY_NAME: state_directory}
    return frozenset(encoded(f"{name}={value}") for name, value in marks.items())


@dataclass(frozen=True, slots=True)
class HookVariable:
    """One variable of a hook's environment: its name, where its value comes from, and what the documentation says."""

    name: str
    value: Callable[[RunHook], str]         # unknown is the empty string, never 0
    about: str
    is_recover_only: bool = False


VARIABLES = (
    HookVariable("TIDEOVER_PHASE", lambda run: run.phase.value, "prepare or recover"),
    HookVariable("TIDEOVER_EVENT_ID", lambda run: run.event_id, "the event's id, exactly as the platform sent it"),
    HookVariable("TIDEOVER_KIND", lambda run: run.kind.value, ", ".join(kind.value for kind in Kind)),
    HookVariable("TIDEOVER_REASON", lambda run: run.reason, "resumed, cancelled or restarted", is_recover_only=True),
    HookVariable("TIDEOVER_NOT_BEFORE", lambda run: utc_text(run.facts.not_before) or "",
                 "the earliest start of the event, RFC 3339"),
    HookVariable("TIDEOVER_SECONDS_LEFT", lambda run: _seconds(run.facts.seconds_left),
                 "seconds until the agent ends this run"),
    HookVariable("TIDEOVER_EXPECTED_PAUSE_S", lambda run: _seconds(run.facts.expected_pause_s),
                 "the length of the pause in seconds, as the platform announced it"),
    HookVariable("TIDEOVER_PAUSE_S", lambda run: _seconds(run.facts.pause_s), "the longest pause, in seconds",
                 is_recover_only=True),
    HookVariable("TIDEOVER_PAUSE_UNCERTAINTY_S", lambda run: _seconds(run.facts.pause_uncertainty_s),
                 "the error bound of that length, in seconds", is_recover_only=True),
    HookVariable("TIDEOVER_CLOCK", lambda run: run.facts.clock.value,
                 "the verdict of the clock check: good, bad or unknown", is_recover_only=True),
    HookVariable("TIDEOVER_CLOCK_OFFSET_S", lambda run: _seconds(run.facts.clock_offset_s, 6),
                 "the clock's offset in seconds; positive: this machine is ahead", is_recover_only=True),
    HookVariable("TIDEOVER_ATTEMPT", lambda run: str(run.attempt), "which attempt of its phase the run is, from 1"),
    HookVariable(RUN_NAME, lambda run: run_name(run.spec.name, run.phase.value, run.run),
                 "names the run: hook, phase, number"),
)
"""Of the decision and of the run. Those of the runner are below."""

RUNNER_VARIABLES = (
    (TRACE_NAME, "32 hexadecimal digits, one an event: the same in the log and in the record"),
    (DIRECTORY_NAME, "the hook's private directory, from prepare to recover: keep there what recover must restore"),
    (DRILL_NAME, "1 in a drill, else not set"),
)
"""The variables of both phases that the runner knows: name and what the documentation says."""


def _seconds(seconds: float | None, digits: int = 3) -> str:
    return "" if seconds is None else f"{seconds:.{digits}f}"


def hook_environment(run: RunHook, trace_id: str, place: HookPaths) -> dict[str, str]:
    """Given a run, the trace it belongs to and its place, return the whole environment of the hook."""
    ours = {one.name: one.value(run) for one in VARIABLES
            if run.phase is HookPhase.RECOVER or not one.is_recover_only} | {TRACE_NAME: trace_id}
    owners = {name: value.replace("\0", "") for name, value in place.owners.items()}
    events = {name: drop_controls(value, VALUE_AT_MOST) for name, value in ours.items()}
    whole = {"HOME": place.home, **place.standing, **owners, **events, **place.extra,
             DIRECTORY_NAME: place.state_directory}
    return {name: value for name, value in whole.items() if NAME.fullmatch(name)}
