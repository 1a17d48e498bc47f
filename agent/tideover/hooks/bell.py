"""What wakes the thread that waits for a hook: an eventfd, or an event of Windows. Chosen here, once."""
from __future__ import annotations

import sys
import threading

if sys.platform == "win32":
    from tideover.winapi.handles import close_handle as _close
    from tideover.winapi.handles import create_event as _create
    from tideover.winapi.handles import set_event as _set

else:
    import os
    from os import close as _close

    def _create() -> int:
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def _set(file: int) -> None:
        os.eventfd_write(file, 1)


class Bell:
    """Wakes the thread that waits for a hook. May be rung from any thread, also when nobody waits any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()       # a number that was given back must not be set: it may be another's
        self._signal: int | None = None
        self.has_rung = False

    def ring(self) -> None:
        with self._lock:
            self.has_rung = True
            if self._signal is not None:
                _set(self._signal)

    def open(self) -> int:
        """Return what can be waited for beside the hook, and is set once the bell rings: a file that can be read from,
        or an event. Whether it has rung before must be asked."""
        with self._lock:
            self._signal = _create()
            return self._signal

    def close(self) -> None:
        with self._lock:
            if self._signal is not None:
                _close(self._signal)
            self._signal = None
