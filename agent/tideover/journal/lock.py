"""One agent to a state directory: a lock the kernel drops when its holder dies, however it dies."""
from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tideover.errors import BusyError, WrongUseError
from tideover.journal.file_lock import lock_alone, lock_together

FILE = "agent.lock"
MODE = 0o600            # whoever can open it can lock it, and keep the agent from starting


class Lock:
    """The lock on a state directory, held as long as this object lives."""

    def __init__(self, state_directory: Path) -> None:
        """Given the directory, take its lock. Raise BusyError if another process holds it or the file system is in
        the way, WrongUseError if this user may not."""
        self._path = state_directory / FILE
        try:
            self._descriptor = _open(state_directory)
        except OSError as trouble:
            kind = WrongUseError if isinstance(trouble, PermissionError) else BusyError
            raise kind(f"cannot use the state directory {state_directory}", trouble.strerror or str(trouble),
                       "Run as its owner, or name another one under [paths] state.") from trouble
        self._seize()

    def _seize(self) -> None:
        try:
            lock_alone(self._descriptor)
        except OSError as trouble:
            holder = _read_holder(self._descriptor)
            os.close(self._descriptor)
            raise BusyError(f"cannot use the state directory {self._path.parent}",
                            f"another tideover (process {holder or 'unknown'}) works on it",
                            "Stop that one, or give this one a [paths] state of its own.") from trouble
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


def _open(state_directory: Path) -> int:
    """Return the lock's file, open; where none can be made in a directory of our own, the directory itself."""
    path = state_directory / FILE
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


def _read_holder(descriptor: int) -> str:
    try:
        return os.read(descriptor, 32).decode("ascii", "replace").strip()
    except OSError:         # a directory
        return ""


def holder(state_directory: Path) -> int | None:
    """Given the directory, return the pid of the agent that works on it, None if none does."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(state_directory / FILE, os.O_RDONLY)
        try:
            lock_together(descriptor)
        except OSError:
            return int(os.read(descriptor, 32) or b"0") or None
        finally:
            os.close(descriptor)
    return None
