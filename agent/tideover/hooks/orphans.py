"""What the agent leaves on disk about each hook that runs now, for the agent that comes after a crash.

One small file a run, written right after the start and removed when the run is settled. It is a clue, never a proof:
whoever reads it looks again whether the process is still the one meant.
"""
from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tideover.effects import RunHook
from tideover.hooks.environment import run_name
from tideover.hooks.marks import Identity
from tideover.hooks.state_directory import ABOVE_MODE, OWN_MODE
from tideover.model import HookPhase, HookSpec, Kind
from tideover.observations import Witness
from tideover.system.clocks import read_boot_id
from tideover.system.directories import make_own_directory

RUNNING = ".running"
ENDED = ".ended"
SIZE_AT_MOST = 16 * 1024        # ours are under 1 KiB


@dataclass(frozen=True, slots=True)
class OrphanTrace:
    """One run of a hook that an agent had begun and not seen the end of."""

    name: str
    phase: HookPhase
    run: int
    trace_id: str

    @property
    def title(self) -> str:
        return run_name(self.name, self.phase.value, self.run)


@dataclass(frozen=True, slots=True)
class RunTrace:
    """What is known of a run's processes while it runs."""

    of: OrphanTrace
    boot_id: str
    keeper: Identity                        # the agent that waits for it
    leader: Identity
    channels: frozenset[str]
    supervisor: Identity | None = None      # None: there is none on this system
    group: str = ""                         # the run's control group; '': none


class Traces:
    """The traces under one directory of the agent's."""

    def __init__(self, hooks_state: Path) -> None:
        self._above, self._directory = hooks_state, hooks_state / RUNNING

    def write(self, trace: RunTrace) -> None:
        """Given a trace, put it on disk, whole or not at all. Raise OSError if that cannot be."""
        make_own_directory(self._above, ABOVE_MODE)
        make_own_directory(self._directory, OWN_MODE)
        file = self._file(trace.of)
        new = file.with_suffix(".new")
        new.write_text(json.dumps(_as_json(trace)), encoding="utf-8")
        new.replace(file)

    def erase(self, of: OrphanTrace) -> None:
        """Given a run, remove its trace, if there is one. Raise OSError if that cannot be."""
        self._file(of).unlink(missing_ok=True)
        self.ended_file(of).unlink(missing_ok=True)

    def ended_file(self, of: OrphanTrace) -> Path:
        """Given a run, return the file that says that it ended by itself, while there was no agent to hear of it."""
        return self._file(of).with_suffix(ENDED)

    def read_all(self) -> Iterator[RunTrace]:
        """Return the traces that can be read. A damaged one says nothing and is removed."""
        if not self._directory.is_dir():
            return
        for file in sorted(self._directory.glob("*.json")):
            trace = _read(file)
            if trace is None or self._file(trace.of) != file:
                file.unlink(missing_ok=True)
            else:
                yield trace

    def _file(self, of: OrphanTrace) -> Path:
        return self._directory / f"{of.name}.{of.phase.value}.{of.run}.json"


def note_of(run: RunHook) -> str:
    """Given a run of prepare, return what stands beside the hook's private directory: all that its recover needs where
    the journal is lost. Its environment is not part of that: values in it may be secret."""
    spec = run.spec
    return json.dumps({"name": spec.name, "order": spec.order, "path": spec.path, "timeout_s": spec.timeout_s,
                       "required": spec.required, "user": spec.user, "umask": spec.umask, "event_id": run.event_id,
                       "kind": run.kind.value, "boot_id": read_boot_id()})


def read_witness(name: str, note: str) -> Witness:
    """Given a hook's name and the note beside its private directory, return both as what the decision is told."""
    try:
        told = json.loads(note)
        spec = HookSpec(name, int(told["order"]), str(told["path"]), timeout_s=float(told["timeout_s"]),
                        required=bool(told["required"]), user=None if told["user"] is None else str(told["user"]),
                        umask=int(told["umask"]))
        return Witness(name, spec, str(told["event_id"]), Kind(told["kind"]), str(told["boot_id"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return Witness(name)


def _as_json(trace: RunTrace) -> dict[str, object]:
    return {
        "name": trace.of.name, "phase": trace.of.phase.value, "run": trace.of.run, "trace_id": trace.of.trace_id,
        "boot_id": trace.boot_id,
        "keeper": [trace.keeper.pid, trace.keeper.start_ticks],
        "leader": [trace.leader.pid, trace.leader.start_ticks],
        "channels": sorted(trace.channels),
        "supervisor": [trace.supervisor.pid, trace.supervisor.start_ticks] if trace.supervisor else None,
        "group": trace.group}


def _read(file: Path) -> RunTrace | None:
    try:
        with file.open("rb") as opened:
            found = json.loads(opened.read(SIZE_AT_MOST))
        return RunTrace(
            OrphanTrace(str(found["name"]), HookPhase(found["phase"]), int(found["run"]), str(found["trace_id"])),
            str(found["boot_id"]), _identity(found["keeper"]), _identity(found["leader"]),
            frozenset(str(channel) for channel in found["channels"]),
            _identity(found["supervisor"]) if found.get("supervisor") else None,
            str(found.get("group", "")))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _identity(pair: list[int]) -> Identity:
    pid, start_ticks = pair
    return Identity(int(pid), int(start_ticks))
