"""Startup: trust in the configuration's files, the state directory, the journal as it is found, runs that were left."""
from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tideover.config_file import Loaded, platform_paths
from tideover.engine import Engine
from tideover.errors import BusyError, Refusal, WrongUseError, system_reason
from tideover.hooks.orphans import OrphanRun, end_orphans
from tideover.hooks.runner import HookRunner
from tideover.hooks.trust import untrusted_component
from tideover.journal import FILE, LastingJournal, unwritable
from tideover.lifecycle import Stage, State
from tideover.lifecycle.state import RUNNING
from tideover.logs import Log
from tideover.model import HookPhase, Moment
from tideover.observations import Restarted
from tideover.record import trace_id
from tideover.settings import Settings, default_settings
from tideover.system.clocks import read_boot_id
from tideover.system.file_lock import Lock
from tideover.system.private_files import make_base_directory

# --- The state directory: its lock and its journal; an unreadable journal is quarantined

PASSING = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Of the disk or of a moment: a later start may find it well."""

STATE_MODE = 0o711      # hooks that run as other users reach their own directories below it, and list nothing


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The state directory as this process holds it."""

    directory: Path
    lock: Lock
    journal: LastingJournal

    def close(self) -> None:
        self.journal.close()
        self.lock.release()


def require_trusted_path(file: Path, what: str = "the configuration", *, is_secret: bool = False) -> None:
    """Given a file and what it is, raise WrongUseError if another user could change it, or read it where it is secret:
    the configuration says what is run, as whom and with which environment."""
    with suppress(OSError):         # a pipe has no path to check, and belongs to this command
        reason = untrusted_component(str(file.absolute()), is_secret=is_secret)
        if reason is not None:
            raise WrongUseError(f"cannot use {what} {file}", str(reason), "Then try again.")


def require_trusted(loaded: Loaded) -> None:
    """Given a configuration, raise WrongUseError if another user could change one of its files, or add one."""
    for path in loaded.trusted_paths:
        require_trusted_path(path)


def require_trusted_named(loaded: Loaded) -> None:
    """Given a configuration, raise WrongUseError if another user could change a file that it names and the agent uses
    from its start on: a file with which the fleet's store is opened (or read one that is secret), and the program that
    a source runs. A hook's files and the program of [notify] are judged at each run."""
    for path, is_secret in loaded.credential_files.items():
        require_trusted_path(path, "a credential file of [fleet]:", is_secret=is_secret)
    for key, program in loaded.settings.source.programs.items():
        require_trusted_path(Path(program), f"{key}:")


def trusted(loaded: Loaded) -> Loaded:
    """Given a configuration, return it; or, where another user could change one of its files, the defaults.

    Nothing of such a configuration is used. Raise WrongUseError if it names other directories than the defaults: they
    would be the wrong ones.
    """
    try:
        require_trusted(loaded)
    except WrongUseError as trouble:
        defaults = default_settings(platform_paths())
        if loaded.settings.paths != defaults.paths:
            raise
        return Loaded(defaults, None, {}, trouble)
    return loaded


def open_state_directory(directory: Path, log: Log) -> StateDirectory:
    """Given the state directory, make it, lock it and open its journal.

    Raise WrongUseError if it cannot be used or is not safe, JournalUnwritable if its journal cannot be read at all.
    """
    make_directory(directory, STATE_MODE)
    lock = Lock(directory)

    def hold() -> None:
        """Before the journal is created again: the directory may have been removed, and another agent be in it."""
        try:
            make_directory(directory, STATE_MODE)
            lock.renew()
        except (OSError, WrongUseError) as trouble:
            raise unwritable(directory / FILE, trouble) from trouble

    def report(reason: str, kept_as: Path | None) -> None:
        log.error("journal.quarantined", reason=reason, kept_as=kept_as or "it cannot be renamed and is left unchanged",
                  consequence="its records are not shown here; read it with tideover history --config")

    return StateDirectory(directory, lock, LastingJournal(directory / FILE, report, hold))


def renew_journal(journal: LastingJournal) -> None:
    """Given the journal of another VM (a cloned disk), set its file aside and start a new one."""
    journal.start_new_for("other-vm", "it belongs to another VM: this disk is a copy, or is used by a new VM; its "
                                       "prepared hooks stay pending")


def make_directory(directory: Path, mode: int) -> None:
    """Given a directory of [paths], make it if it is not there. Raise WrongUseError if that cannot be done, or if
    another user could change it or the way to it; then nothing has changed.

    What stands in the journal is run at recover, and what answers at the socket is believed: others must not be able to
    put it there. """
    way = directory.absolute()
    _require_safe_way(directory, way if way.is_symlink() else way.parent)   # the mode of our own directory is corrected
    try:
        make_base_directory(directory, mode)
    except OSError as trouble:
        kind = BusyError if trouble.errno in PASSING else WrongUseError
        raise kind(f"cannot make the directory {directory}", system_reason(trouble),
                   "Run as root, or set another directory with [paths].") from trouble
    _require_safe_way(directory, way)


def _require_safe_way(directory: Path, way: Path) -> None:
    """Raise WrongUseError if another user could change the way to the directory, or as much of it as there is."""
    try:
        reason: Refusal | str | None = _find_unsafe(way)
    except OSError as trouble:
        reason = system_reason(trouble)
    if reason is not None:
        raise WrongUseError(f"cannot use the directory {directory}", str(reason),
                            "Or set another directory with [paths].")


def _find_unsafe(way: Path) -> Refusal | None:
    for path in (way, *way.parents):
        with suppress(FileNotFoundError):
            return untrusted_component(str(path))
    return None


# --- Startup recovery: leftover runs are ended, then the state's desired effects are started

HOOKS_STATE = "hooks"       # below the state directory: one directory a hook


def fallback_hooks_state(settings: Settings) -> Path | None:
    """Return where hooks keep their state while the state directory cannot be written; None where there is no place
    that others could not change, or one would not outlive the agent."""
    runtime = settings.paths.runtime
    with suppress(OSError):
        if Path(runtime).is_absolute() and Path(runtime).is_dir() and untrusted_component(runtime) is None:
            return Path(runtime) / HOOKS_STATE
    return None


def resume_from_journal(memory: StateDirectory, engine: Engine, runner: HookRunner, now: Moment, log: Log,
                        spare: Path | None) -> None:
    """Given an engine that has just loaded its state, end the orphans of that state's runs and tell it of the start,
    and of the private directories that hooks have: the second witness of what is prepared."""
    end_left_runs(memory, engine, log, spare)
    last_at = memory.journal.last_at()
    down_s = None if last_at is None else max(0.0, (now.utc - last_at).total_seconds())
    engine.handle(Restarted(read_boot_id(), down_s, runner.witnesses(), int(now.utc.timestamp())))


def end_left_runs(memory: StateDirectory, engine: Engine, log: Log, spare: Path | None) -> None:
    """Given an engine that has just loaded its state, end what is left of that state's runs."""
    for ended in end_orphans(memory.directory / HOOKS_STATE, unfinished_runs(engine.state), spare):
        log.warning("hook.orphan-ended", hook=ended.of.name, phase=ended.of.phase.value, processes=ended.found,
                    left=ended.left)


def unfinished_runs(state: State) -> list[OrphanRun]:
    """Given a state, return the runs whose end was not seen."""
    return [OrphanRun(name, HookPhase.RECOVER if hook.stage is Stage.RECOVERING else HookPhase.PREPARE, hook.run,
                        trace_id(hook.event_id))
            for name, hook in state.hooks.items() if hook.stage in RUNNING]
