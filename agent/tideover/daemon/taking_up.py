"""Takes up where the last agent left off: what it left running is ended, then the state asks for what it wants."""
from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tideover.daemon.opening import Memory
from tideover.engine import Engine
from tideover.hooks import HookRunner, OrphanTrace, end_orphans
from tideover.hooks.parts import find_unsafe_step
from tideover.lifecycle import Stage, State
from tideover.lifecycle.state import RUNNING
from tideover.logs import Log
from tideover.model import HookPhase, Moment
from tideover.observations import Restarted
from tideover.record import trace_id
from tideover.settings import Settings
from tideover.system.clocks import read_boot_id

HOOKS_STATE = "hooks"       # below the state directory: one directory a hook


def spare_hooks_state(settings: Settings) -> Path | None:
    """Return where hooks keep their state while the state directory cannot be written; None where there is no place
    that others could not change, or one would not outlive the agent."""
    runtime = settings.paths.runtime
    with suppress(OSError):
        if Path(runtime).is_absolute() and Path(runtime).is_dir() and find_unsafe_step(runtime) is None:
            return Path(runtime) / HOOKS_STATE
    return None


def take_up(memory: Memory, engine: Engine, runner: HookRunner, now: Moment, log: Log, spare: Path | None) -> None:
    """Given an engine that has just loaded its state, end the orphans of that state's runs and tell it of the start,
    and of the private directories that hooks have: the second witness of what is prepared."""
    end_left_runs(memory, engine, log, spare)
    last_at = memory.journal.last_at()
    down_s = None if last_at is None else max(0.0, (now.utc - last_at).total_seconds())
    engine.take(Restarted(read_boot_id(), down_s, runner.witnesses()))


def end_left_runs(memory: Memory, engine: Engine, log: Log, spare: Path | None) -> None:
    """Given an engine that has just loaded its state, end what is left of that state's runs."""
    for ended in end_orphans(memory.directory / HOOKS_STATE, unfinished_runs(engine.state), spare):
        log.warning("hook.orphan-ended", hook=ended.of.name, phase=ended.of.phase.value, processes=ended.found,
                    left=ended.left)


def unfinished_runs(state: State) -> list[OrphanTrace]:
    """Given a state, return the runs whose end nobody has seen."""
    return [OrphanTrace(name, HookPhase.RECOVER if hook.stage is Stage.RECOVERING else HookPhase.PREPARE, hook.run,
                        trace_id(hook.event_id))
            for name, hook in state.hooks.items() if hook.stage in RUNNING]
