"""A lock on an open file that the system drops when its holder dies; the lock of a state directory.

Both systems take it without waiting and raise OSError where another process has it. Its holder writes its process id
into the file.
"""
from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tideover.errors import BusyError, WrongUseError, system_reason

AGENT_LOCK = "agent.lock"       # in the state directory: held by the one agent that works on it

if sys.platform == "win32":
    import msvcrt

    import pywintypes
    import win32con
    import win32file

    from tideover.winapi.base import os_errors

    # LockFileEx. What is locked cannot be read by others, so it is one byte far beyond what is ever written.
    _AT_BYTE = 1 << 30

    def lock_alone(descriptor: int) -> None:
        """Given an open file, lock it against everybody else. Raise OSError."""
        _take(descriptor, win32con.LOCKFILE_FAIL_IMMEDIATELY | win32con.LOCKFILE_EXCLUSIVE_LOCK)

    def lock_together(descriptor: int) -> None:
        """Given an open file, lock it against those who want it alone. Raise OSError."""
        _take(descriptor, win32con.LOCKFILE_FAIL_IMMEDIATELY)

    def _take(descriptor: int, how: int) -> None:
        place = pywintypes.OVERLAPPED()
        place.Offset = _AT_BYTE
        with os_errors():
            win32file.LockFileEx(msvcrt.get_osfhandle(descriptor), how, 1, 0, place)

else:
    import fcntl

    def lock_alone(descriptor: int) -> None:
        """Given an open file, lock it against everybody else (flock(2)). Raise OSError."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def lock_together(descriptor: int) -> None:
        """Given an open file, lock it against those who want it alone (flock(2)). Raise OSError."""
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The process that holds a lock; `pid` is None where it could not be written down."""

    pid: int | None


def read_holder(state_directory: Path) -> LockHolder | None:
    """Given the state directory, return who holds its lock; None if no process does, or this user may not see it."""
    for path in (state_directory / AGENT_LOCK, state_directory):      # the directory: where no file could be made
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                lock_together(descriptor)
            except OSError:
                return LockHolder(read_pid(descriptor))
            finally:
                os.close(descriptor)
    return None


def read_pid(descriptor: int) -> int | None:
    """Given an open lock file, return the process id its holder wrote; None if there is none."""
    try:
        return int(os.read(descriptor, 32)) or None
    except (OSError, ValueError):       # a directory; nothing could be written
        return None


# --- The lock of a state directory: one agent at a time

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
            raise kind(f"cannot use the state directory {state_directory}", system_reason(trouble),
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
