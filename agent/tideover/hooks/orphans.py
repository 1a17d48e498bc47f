"""After a crash of the agent: what its hooks' runs have left alive is found and ended before anything is run again."""
from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tideover.hooks.environment import environment_marks
from tideover.hooks.marks import RunMarks
from tideover.hooks.parts import end_runs, find_members, is_running
from tideover.hooks.state_directory import StateDirectories
from tideover.hooks.traces import OrphanTrace, RunTrace, Traces
from tideover.system.clocks import read_boot_id

ORPHAN_GRACE_S = 0.4        # the reason of the run may have gone while no agent was there: as for one called off


@dataclass(frozen=True, slots=True)
class EndedOrphan:
    """A run of an agent that died, of which processes were still alive."""

    of: OrphanTrace
    found: int              # processes
    left: int               # of these, could not be ended


def end_orphans(hooks_state: Path, runs: Iterable[OrphanTrace], spare: Path | None = None) -> tuple[EndedOrphan, ...]:
    """Given the hooks' state directory, the runs that the journal shows unfinished, and the spare directory, end what
    is alive of those runs.

    What the trace files show beyond that (the journal may be lost) is ended as well, unless the agent that started it
    lives. Call it before any run is started. Returns within about three seconds.
    """
    traces = Traces(hooks_state)
    known = {trace.of: trace for trace in _read_all(traces)}
    kept = {of for of, trace in known.items() if _is_kept(trace)}
    orphans = [of for of in dict.fromkeys([*runs, *known]) if of not in kept]
    states = StateDirectories(hooks_state, spare)
    marks = {of: _marks(of, known.get(of), states.path(of.name)) for of in orphans
             if _may_be_alive(known.get(of)) and not _has_ended(traces, of)}
    found = {of: members for of in marks if (members := find_members(marks[of]))}
    left = end_runs([marks[of] for of in found], ORPHAN_GRACE_S, time.sleep) if found else set()
    for of in orphans:
        with suppress(OSError):     # a disk that cannot be written: the next start finds it again, and nothing alive
            traces.erase(of)
    return tuple(EndedOrphan(of, len(members), len(members & left)) for of, members in found.items())


def _read_all(traces: Traces) -> tuple[RunTrace, ...]:
    try:
        return tuple(traces.read_all())
    except OSError:                 # not ours to read: the environments of the processes still tell
        return ()


def _marks(of: OrphanTrace, trace: RunTrace | None, directory: str) -> RunMarks:
    environment = environment_marks(of.title, of.trace_id, directory)
    if trace is None:       # died between the start and the trace, or the disk was full: the environment alone tells
        return RunMarks(environment)
    return RunMarks(environment, trace.leader, trace.channels, trace.supervisor, trace.group)


def _has_ended(traces: Traces, of: OrphanTrace) -> bool:
    """By itself: then what it left behind is not ours to end."""
    try:
        return traces.ended_file(of).exists()
    except OSError:
        return False


def _may_be_alive(trace: RunTrace | None) -> bool:
    return trace is None or trace.boot_id == read_boot_id()


def _is_kept(trace: RunTrace) -> bool:
    """Return whether the agent that started it lives: this one, or a person's command beside it."""
    return trace.boot_id == read_boot_id() and is_running(trace.keeper)
