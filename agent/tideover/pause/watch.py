"""The pause watch: one thread in one wait, whose timeout is the heartbeat and whose descriptors are the push signals.

It notices; it never decides what a pause means for an event, never sets a clock and never asks the network.
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from tideover.model import Moment
from tideover.observations import Observation
from tideover.pause.clock_set import open_clock_set_reader
from tideover.pause.clocks import Clocks, MachineClocks
from tideover.pause.counters import CounterSource, MachineCounters
from tideover.pause.noticing import Noticer
from tideover.pause.settings import PauseSettings
from tideover.pause.signals import Reader, Signal
from tideover.pause.waiting import Heard, new_wait

CLOSE_PATIENCE_S = 2.0      # for the thread to end; it is a daemon thread, so nothing hangs on it


def _nobody() -> None:
    return None


def open_readers() -> tuple[Reader, ...]:
    """Return a reader for each push signal that this machine has."""
    return tuple(reader for reader in (open_clock_set_reader(),) if reader is not None)


class PauseWatch:
    """Given `tell`, brings each pause and each step of the wall clock of half a second or more as `Resumed`, once.

    `clock_was_set` is called for each step of a millisecond or more, on the watch's thread: it must not block."""

    def __init__(self, tell: Callable[[Observation], None], settings: PauseSettings | None = None, *,
                 clocks: Clocks | None = None, counters: CounterSource | None = None,
                 readers: Sequence[Reader] | None = None, clock_was_set: Callable[[], None] = _nobody) -> None:
        self._settings = settings or PauseSettings()
        self._wait = new_wait()
        self._readers = list(open_readers() if readers is None else readers)
        self._noticer = Noticer(tell, self._settings, clocks or MachineClocks(), counters or MachineCounters(),
                                clock_was_set=clock_was_set)
        self._unheard: set[Reader] = set()
        self._period_ns = self._settings.tick_ns
        self._closing = False
        self._thread = threading.Thread(target=self._watch, name="pause-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch. Never blocks."""
        self._thread.start()

    def watch_closely(self) -> None:
        """An event is near or has started: read the clocks more often. Any thread; never blocks."""
        self._pace(self._settings.close_tick_ns)

    def watch_calmly(self) -> None:
        """No event is near: read the clocks at the calm pace. Any thread; never blocks."""
        self._pace(self._settings.tick_ns)

    def latest_beat(self) -> Moment:
        """Return when the clocks were read last. Any thread."""
        return self._noticer.latest_beat()

    def close(self) -> None:
        """End the watch and give its descriptors back."""
        self._closing = True
        self._wait.wake()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_PATIENCE_S)
        if not self._thread.is_alive():
            for reader in self._readers:
                reader.close()
            self._noticer.close()
            self._wait.close()

    def _pace(self, period_ns: int) -> None:
        if period_ns != self._period_ns:
            self._period_ns = period_ns
            self._wait.wake()

    def _watch(self) -> None:
        self._wait.watch(fd for fd in (reader.fileno() for reader in self._readers) if fd is not None)
        self._noticer.begin()
        while not self._closing:
            period_ns = self._period_ns
            heard = self._wait.wait(period_ns)
            self._noticer.beat(period_ns, self._hear(heard))

    def _hear(self, heard: Heard) -> list[Signal]:
        """What the readers have to say. One whose descriptor broke is asked on every beat from then on."""
        if heard.broken:
            self._wait.forget(heard.broken)
            self._unheard.update(reader for reader in self._readers if reader.fileno() in heard.broken)
        return [signal for reader in self._readers
                if reader.fileno() in heard.readable or reader.unfinished or self._is_mute(reader)
                for signal in reader.read()]

    def _is_mute(self, reader: Reader) -> bool:
        return reader.fileno() is None or reader in self._unheard
