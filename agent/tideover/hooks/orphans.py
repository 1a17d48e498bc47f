"""Run files, by which hooks that a crashed agent left running are found and ended at the next start.

One small file a run, written right after the start and removed when the run is settled. It is a clue, never a proof:
its reader checks again whether the process is still the one meant.
"""
from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tideover.effects import RunHook
from tideover.hooks.environment import ProcessIdentity, RunFingerprint, environment_markers, run_name
from tideover.hooks.state_directory import ABOVE_MODE, OWN_MODE, StateDirectories
from tideover.model import HookPhase, HookSpec, Kind
from tideover.observations import Witness
from tideover.system.clocks import read_boot_id
from tideover.system.private_files import make_own_directory

if sys.platform == "win32":
    from tideover.hooks import windows_process as processes
else:
    from tideover.hooks import posix_process as processes

# --- Run files: what is on disk about each running hook

RUNNING = ".running"
ENDED = ".ended"
SIZE_AT_MOST = 16 * 1024        # ours are under 1 KiB


@dataclass(frozen=True, slots=True)
class OrphanRun:
    """One run of a hook that an agent had begun and not seen the end of."""

    name: str
    phase: HookPhase
    run: int
    trace_id: str

    @property
    def title(self) -> str:
        return run_name(self.name, self.phase.value, self.run)


@dataclass(frozen=True, slots=True)
class RunFile:
    """What is known of a run's processes while it runs."""

    of: OrphanRun
    boot_id: str
    keeper: ProcessIdentity                        # the agent that waits for it
    leader: ProcessIdentity
    channels: frozenset[str]
    supervisor: ProcessIdentity | None = None      # None: there is none on this system
    group: str = ""                         # the run's control group; '': none


class RunFiles:
    """The traces under one directory of the agent's."""

    def __init__(self, hooks_state: Path) -> None:
        self._above, self._directory = hooks_state, hooks_state / RUNNING

    def write(self, trace: RunFile) -> None:
        """Given a trace, put it on disk, whole or not at all. Raise OSError if that cannot be."""
        make_own_directory(self._above, ABOVE_MODE)
        make_own_directory(self._directory, OWN_MODE)
        file = self._file(trace.of)
        new = file.with_suffix(".new")
        new.write_text(json.dumps(_as_json(trace)), encoding="utf-8")
        new.replace(file)

    def erase(self, of: OrphanRun) -> None:
        """Given a run, remove its trace, if there is one. Raise OSError if that cannot be."""
        self._file(of).unlink(missing_ok=True)
        self.ended_file(of).unlink(missing_ok=True)

    def ended_file(self, of: OrphanRun) -> Path:
        """Given a run, return the file that says that it ended by itself, while there was no agent to hear of it."""
        return self._file(of).with_suffix(ENDED)

    def read_all(self) -> Iterator[RunFile]:
        """Return the traces that can be read. A damaged one says nothing and is removed."""
        if not self._directory.is_dir():
            return
        for file in sorted(self._directory.glob("*.json")):
            trace = _read(file)
            if trace is None or self._file(trace.of) != file:
                file.unlink(missing_ok=True)
            else:
                yield trace

    def _file(self, of: OrphanRun) -> Path:
        return self._directory / f"{of.name}.{of.phase.value}.{of.run}.json"


def note_of(run: RunHook) -> str:
    """Given a run of prepare, return what stands beside the hook's private directory: all that its recover needs where
    the journal is lost. Its environment is not part of that: values in it may be secret."""
    spec = run.spec
    return json.dumps({"name": spec.name, "order": spec.order, "path": spec.path, "timeout_s": spec.timeout_s,
                       "required": spec.required, "user": spec.user, "umask": spec.umask,
                       "is_application": spec.is_application, "event_id": run.event_id, "kind": run.kind.value,
                       "boot_id": read_boot_id()})


def read_witness(name: str, note: str) -> Witness:
    """Given a hook's name and the note beside its private directory, return both as the lifecycle takes them."""
    try:
        noted = json.loads(note)
        spec = HookSpec(name, int(noted["order"]), str(noted["path"]), timeout_s=float(noted["timeout_s"]),
                        required=bool(noted["required"]), user=None if noted["user"] is None else str(noted["user"]),
                        umask=int(noted["umask"]), is_application=noted.get("is_application") is True)
        return Witness(name, spec, str(noted["event_id"]), Kind(noted["kind"]), str(noted["boot_id"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return Witness(name)


def _as_json(trace: RunFile) -> dict[str, object]:
    return {
        "name": trace.of.name, "phase": trace.of.phase.value, "run": trace.of.run, "trace_id": trace.of.trace_id,
        "boot_id": trace.boot_id,
        "keeper": [trace.keeper.pid, trace.keeper.start_ticks],
        "leader": [trace.leader.pid, trace.leader.start_ticks],
        "channels": sorted(trace.channels),
        "supervisor": [trace.supervisor.pid, trace.supervisor.start_ticks] if trace.supervisor else None,
        "group": trace.group}


def _read(file: Path) -> RunFile | None:
    try:
        with file.open("rb") as opened:
            found = json.loads(opened.read(SIZE_AT_MOST))
        return RunFile(
            OrphanRun(str(found["name"]), HookPhase(found["phase"]), int(found["run"]), str(found["trace_id"])),
            str(found["boot_id"]), _identity(found["keeper"]), _identity(found["leader"]),
            frozenset(str(channel) for channel in found["channels"]),
            _identity(found["supervisor"]) if found.get("supervisor") else None,
            str(found.get("group", "")))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _identity(pair: list[int]) -> ProcessIdentity:
    pid, start_ticks = pair
    return ProcessIdentity(int(pid), int(start_ticks))


# --- Orphans

ORPHAN_GRACE_S = 0.4        # the reason of the run may have gone while no agent was there: as for one called off


@dataclass(frozen=True, slots=True)
class EndedOrphan:
    """A run of an agent that died, of which processes were still alive."""

    of: OrphanRun
    found: int              # processes
    left: int               # of these, could not be ended


def end_orphans(hooks_state: Path, runs: Iterable[OrphanRun], spare: Path | None = None) -> tuple[EndedOrphan, ...]:
    """Given the hooks' state directory, the runs that the journal shows unfinished, and the spare directory, end what
    is alive of those runs.

    What the trace files show beyond that (the journal may be lost) is ended as well, unless the agent that started it
    lives. Call it before any run is started. Returns within about three seconds.
    """
    traces = RunFiles(hooks_state)
    known = {trace.of: trace for trace in _read_all(traces)}
    kept = {of for of, trace in known.items() if _is_kept(trace)}
    orphans = [of for of in dict.fromkeys([*runs, *known]) if of not in kept]
    states = StateDirectories(hooks_state, spare)
    marks = {of: _marks(of, known.get(of), states.path(of.name)) for of in orphans
             if _may_be_alive(known.get(of)) and not _has_ended(traces, of)}
    found = {of: members for of in marks if (members := processes.find_members(marks[of]))}
    left = processes.end_runs([marks[of] for of in found], ORPHAN_GRACE_S, time.sleep) if found else set()
    for of in orphans:
        with suppress(OSError):     # a disk that cannot be written: the next start finds it again, and nothing alive
            traces.erase(of)
    return tuple(EndedOrphan(of, len(members), len(members & left)) for of, members in found.items())


def _read_all(traces: RunFiles) -> tuple[RunFile, ...]:
    try:
        return tuple(traces.read_all())
    except OSError:                 # not ours to read: the environments of the processes still tell
        return ()


def _marks(of: OrphanRun, trace: RunFile | None, directory: str) -> RunFingerprint:
    environment = environment_markers(of.title, of.trace_id, directory)
    if trace is None:       # died between the start and the trace, or the disk was full: the environment alone tells
        return RunFingerprint(environment)
    return RunFingerprint(environment, trace.leader, trace.channels, trace.supervisor, trace.group)


def _has_ended(traces: RunFiles, of: OrphanRun) -> bool:
    """By itself: then what it left behind is not ours to end."""
    try:
        return traces.ended_file(of).exists()
    except OSError:
        return False


def _may_be_alive(trace: RunFile | None) -> bool:
    return trace is None or trace.boot_id == read_boot_id()


def _is_kept(trace: RunFile) -> bool:
    """Return whether the agent that started it lives: this one, or a person's command beside it."""
    return trace.boot_id == read_boot_id() and processes.is_running(trace.keeper)
