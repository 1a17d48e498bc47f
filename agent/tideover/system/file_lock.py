"""A lock on an open file that the system drops when its holder dies, however it dies. Chosen here, once.

Both systems take it without waiting and raise OSError where another process has it. Its holder writes its process id
into the file.
"""
from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

AGENT_LOCK = "agent.lock"       # in the state directory: held by the one agent that works on it

if sys.platform == "win32":
    import ctypes
    import msvcrt

    from tideover.winapi import base

    # LockFileEx. What is locked cannot be read by others, so it is one byte far beyond what is ever written.
    _FAIL_IMMEDIATELY, _EXCLUSIVE, _AT_BYTE = 1, 2, 1 << 30

    class _LockOverlapped(ctypes.Structure):
        _fields_ = (("internal", ctypes.c_size_t * 2), ("at", base.DWORD * 2), ("event", base.HANDLE))

    _lock = base.declare(base.kernel32, "LockFileEx", ctypes.c_int, base.HANDLE, base.DWORD, base.DWORD,
                          base.DWORD, base.DWORD, ctypes.POINTER(_LockOverlapped))

    def lock_alone(descriptor: int) -> None:
        """Given an open file, lock it against everybody else. Raise OSError."""
        _take(descriptor, _FAIL_IMMEDIATELY | _EXCLUSIVE)

    def lock_together(descriptor: int) -> None:
        """Given an open file, lock it against those who want it alone. Raise OSError."""
        _take(descriptor, _FAIL_IMMEDIATELY)

    def _take(descriptor: int, how: int) -> None:
        place = _LockOverlapped(at=(_AT_BYTE, 0))
        base.check(_lock(msvcrt.get_osfhandle(descriptor), how, 0, 1, 0, ctypes.byref(place)))

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
