"""One agent to a state directory: a lock the kernel drops when its holder dies, however it dies."""
from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tideover.errors import WrongUseError
from tideover.journal.file_lock import lock_alone, lock_together

FILE = "agent.lock"


class Lock:
    """The lock on a state directory, held as long as this object lives."""

    def __init__(self, state_directory: Path) -> None:
        """Given the directory, take its lock. Raise WrongUseError if another process holds it, or if it cannot be
        made."""
        path = state_directory / FILE
        try:
            self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as trouble:
            raise WrongUseError(f"cannot use the state directory {state_directory}", trouble.strerror or str(trouble),
                                "Run as its owner, or name another one under [paths] state.") from trouble
        try:
            lock_alone(self._descriptor)
        except OSError as trouble:
            holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise WrongUseError(f"cannot use the state directory {state_directory}",
                                f"another tideover (process {holder or 'unknown'}) works on it",
                                "Stop that one, or give this one a [paths] state of its own.") from trouble
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        os.close(self._descriptor)


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
