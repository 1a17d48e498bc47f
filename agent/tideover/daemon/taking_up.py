"""Takes up where the last agent left off: what it left running is ended, then the state asks for what it wants."""
from __future__ import annotations

from tideover.daemon.hands import trace_id
from tideover.daemon.opening import Memory
from tideover.engine import Engine
from tideover.hooks import OrphanTrace, end_orphans
from tideover.lifecycle import Stage, State
from tideover.lifecycle.state import RUNNING
from tideover.logs import Log
from tideover.model import HookPhase, Moment
from tideover.observations import Restarted
from tideover.system.clocks import read_boot_id

HOOKS_STATE = "hooks"       # below the state directory: one directory a hook


def take_up(memory: Memory, engine: Engine, now: Moment, log: Log) -> None:
    """Given an engine that has just loaded its state, end the orphans of that state's runs and tell it of the start."""
    for ended in end_orphans(memory.directory / HOOKS_STATE, unfinished_runs(engine.state)):
        log.warning("hook.orphan-ended", hook=ended.of.name, phase=ended.of.phase.value, processes=ended.found,
                    left=ended.left)
    last_at = memory.journal.last_at()
    down_s = None if last_at is None else max(0.0, (now.utc - last_at).total_seconds())
    engine.take(Restarted(read_boot_id(), down_s))


def unfinished_runs(state: State) -> list[OrphanTrace]:
    """Given a state, return the runs whose end nobody has seen."""
    return [OrphanTrace(name, HookPhase.RECOVER if hook.stage is Stage.RECOVERING else HookPhase.PREPARE, hook.run,
                        trace_id(hook.event_id))
            for name, hook in state.hooks.items() if hook.stage in RUNNING]
