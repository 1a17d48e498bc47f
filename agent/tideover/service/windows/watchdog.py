"""Ends a process whose agent hangs, as systemd's watchdog does: Windows has none, but starts again what has ended.

It counts its own looks, not seconds: a machine that stands still for any time does not look either, so a pause of the
machine never counts as a hang.
"""
from __future__ import annotations

import threading
from collections.abc import Callable

from tideover.threads import Loop

LOOK_EVERY_S = 20.0
LOOKS = 6                   # 120 s, as in the unit
LONGEST_SILENCE_S = 40.0    # how often the agent's loop turns at least, so that two turns fall into every 120 s


class Watchdog:
    """Calls `end` when nobody has fed it for `LOOKS` looks. Only from the first feeding to `rest`."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self._resting = threading.Event()
        self._hungry = 0
        self._loop: Loop | None = None

    def feed(self) -> None:
        """Any thread; far more often than needed."""
        self._hungry = 0
        if self._loop is None:
            self._loop = Loop("watchdog", self._watch)
            self._loop.start()

    def rest(self) -> None:
        """The agent ends: nobody feeds any more."""
        self._resting.set()

    def look(self) -> None:
        """One look."""
        self._hungry += 1
        if self._hungry > LOOKS and not self._resting.is_set():
            self._end()

    def _watch(self) -> None:
        while not self._resting.wait(LOOK_EVERY_S):
            self.look()
