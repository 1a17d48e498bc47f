"""The lock of a state directory: one agent at a time; the kernel releases it when its holder dies."""
from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from tideover.errors import BusyError, WrongUseError
from tideover.system.file_lock import AGENT_LOCK, lock_alone, read_holder, read_pid

LOOKS, LOOK_S = 5, 0.02
MODE = 0o600            # a process that can open it can lock it, and keep the agent from starting


class Lock:
    """The lock on a state directory, held as long as this object lives."""

    def __init__(self, state_directory: Path) -> None:
        """Given the directory, take its lock. Raise BusyError if another process holds it or the file system is in
        the way, WrongUseError if this user may not."""
        self._path = state_directory / AGENT_LOCK
        try:
            self._descriptor = _open(state_directory)
        except OSError as trouble:
            kind = WrongUseError if isinstance(trouble, PermissionError) else BusyError
            raise kind(f"cannot use the state directory {state_directory}", trouble.strerror or str(trouble),
                       "Run as the user that owns it, or set another directory with [paths] state.") from trouble
        self._seize()

    def _seize(self) -> None:
        try:
            _lock_alone_soon(self._descriptor)
        except OSError as trouble:
            holder = read_pid(self._descriptor)
            os.close(self._descriptor)
            raise BusyError(f"cannot use the state directory {self._path.parent}",
                            f"another tideover (process {holder or 'unknown'}) is using it",
                            "Stop that process, or give this one its own [paths] state.") from trouble
        with contextlib.suppress(OSError):      # a full or read-only disk: locked it is all the same
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def renew(self) -> None:
        """The directory was removed, or had no room for the file: lock what the next agent would lock.

        Raise BusyError if that is locked by now.
        """
        found = _open(self._path.parent)
        if os.path.sameopenfile(found, self._descriptor):
            os.close(found)
            return
        kept, self._descriptor = self._descriptor, found
        try:
            self._seize()
        except WrongUseError:
            self._descriptor = kept
            raise
        os.close(kept)

    def release(self) -> None:
        os.close(self._descriptor)


def _lock_alone_soon(descriptor: int) -> None:
    """Lock it, though a command that asks who holds it may have it for a moment. Raise OSError."""
    for _ in range(LOOKS):
        with contextlib.suppress(OSError):
            lock_alone(descriptor)
            return
        time.sleep(LOOK_S)
    lock_alone(descriptor)


def _open(state_directory: Path) -> int:
    """Return the lock's file, open; where none can be made in a directory of our own, the directory itself."""
    path = state_directory / AGENT_LOCK
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, MODE)
    except OSError:
        if not hasattr(os, "geteuid") or state_directory.stat().st_uid != os.geteuid():
            raise
        with contextlib.suppress(OSError):
            return os.open(path, os.O_RDONLY)
        return os.open(state_directory, os.O_RDONLY)
    with contextlib.suppress(OSError):
        path.chmod(MODE)
    return descriptor


def holder(state_directory: Path) -> int | None:
    """Given the directory, return the pid of the agent that works on it, None if none does or it is not known."""
    held = read_holder(state_directory)
    return held.pid if held else None
