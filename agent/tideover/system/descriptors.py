"""Descriptors kept open for nothing, so that there are some to give up when no more can be opened.

Hooks must be found and started, an event acknowledged and a clock asked also in a process that has reached its limit
(EMFILE), or on a machine that has (ENFILE). Windows knows no such limit: nothing is kept there.
"""
from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE})
KEPT = 0 if sys.platform == "win32" else 12     # two hooks being started side by side need six each
T = TypeVar("T")


class Reserve:
    """Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[int] = []
        self._users = 0

    def fill(self) -> None:
        """Keep as many as are wanted, or as the system gives."""
        with self._lock, contextlib.suppress(OSError):
            while not self._users and len(self._kept) < KEPT:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)))

    @contextlib.contextmanager
    def available(self) -> Iterator[None]:
        """Inside, what was kept can be opened for something else."""
        with self._lock:
            self._users += 1
            while self._kept:
                os.close(self._kept.pop())
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
            self.fill()


RESERVE = Reserve()             # the limit is the process's, and so is what is kept of it


def with_reserve(act: Callable[[], T]) -> T:
    """Do it; where no descriptor is left for it, do it once more with those of the reserve. Raise what it raises."""
    try:
        return act()
    except OSError as error:
        if error.errno not in EXHAUSTED:
            raise
    with RESERVE.available():
        return act()
