"""The values that one run of a hook is described by. Nothing here does anything."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tideover.effects import RunHook
from tideover.hooks.bell import Bell
from tideover.hooks.state_directory import StateDirectories
from tideover.hooks.traces import OrphanTrace, Traces
from tideover.model import Moment


@dataclass(frozen=True, slots=True)
class Graces:
    """How long a tree has between SIGTERM and SIGKILL, in seconds."""

    timeout_s: float = 1.0      # it had its time, and what it still tidies up now, recover need not
    call_off_s: float = 0.4     # withdrawn event → tree gone and recover started within 1.5 s, a poll included


@dataclass(slots=True)
class Limit:
    """How long a run may take, in seconds from its beginning. Made shorter from another thread while it runs."""

    seconds: float

    def shorten(self, seconds: float) -> None:
        self.seconds = min(self.seconds, seconds)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run, once."""

    run: RunHook
    record: bytes               # the hook's standard input
    trace_id: str
    bell: Bell                  # rung when it is called off
    limit: Limit                # what the run's own limit has become by now
    owners: Mapping[str, str]   # the variables that its owner sets for it; their values may be secret

    @property
    def trace(self) -> OrphanTrace:
        return OrphanTrace(self.run.spec.name, self.run.phase, self.run.run, self.trace_id)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all runs of one agent have in common."""

    states: StateDirectories
    traces: Traces
    standing: Mapping[str, str]                 # PATH, LANG
    owners: Callable[[str], Mapping[str, str]]  # a hook's NAME to what its owner sets for it, asked at each run
    told: Mapping[str, str]                     # TIDEOVER_DRILL
    log_line: Callable[[str, str], None]        # hook's name, line
    lines_at_most: int                          # of one run that are handed on to it
    read_moment: Callable[[], Moment]
    graces: Graces
