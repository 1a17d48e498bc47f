"""The thread of the pause watch: the tick, the descriptors of push signals, its close.

It notices; it never decides what a pause means for an event, never sets a clock and never asks the network.
"""
from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from tideover.model import Document
from tideover.observations import Observation
from tideover.pause.counters import CounterSource, open_counters
from tideover.pause.detector import PauseCallbacks, PauseDetector, post_nowhere
from tideover.pause.incidents import SourceSamples
from tideover.pause.types import HOST_KEYS, MoveProved, PauseWatchSettings, PushSignal, SignalReader, change_of_host
from tideover.system import ROOT
from tideover.system.clocks import Clocks, MachineClocks
from tideover.system.wakeup import WaitResult, new_wait
from tideover.threads import Loop
from tideover.timekeeping.intervals import NS
from tideover.timekeeping.pause_fusion import SourceSample, sample_of_date

# --- The push signals that this machine has

GUEST_PARAMETERS = r"SOFTWARE\Microsoft\Virtual Machine\Guest\Parameters"


class GuestParametersReader:
    """The physical host's name, as Hyper-V's guest service keeps it in the registry; read at each tick. Windows.

    Microsoft documents that the host writes the names again when a machine has moved (learn.microsoft.com, "Hyper-V
    data exchange"). `read_text`: given a key and a name, read a text value below HKEY_LOCAL_MACHINE ("": there is
    none). """

    unfinished = False

    def __init__(self, read_text: Callable[[str, str], str]) -> None:
        self._read_text = read_text
        self._names: dict[str, str] = {}
        self.read()

    def fileno(self) -> None:
        return None

    def read(self) -> tuple[PushSignal, ...]:
        """Return a change of the host's name."""
        names = {name: word for name in HOST_KEYS if (word := self._read_text(GUEST_PARAMETERS, name))}
        before, self._names = self._names, {**self._names, **names}
        return change_of_host(before, names)

    def close(self) -> None:
        """It holds nothing."""


if sys.platform == "win32":
    from tideover.winapi.base import read_text

    def open_readers(root: Path = ROOT) -> tuple[SignalReader, ...]:
        """Return a reader for each push signal that this machine has."""
        return (GuestParametersReader(read_text),)

else:
    from tideover.pause.hypervisor_signals import open_host_name_reader, open_vmclock_reader
    from tideover.pause.kernel_signals import open_clock_set_reader, open_links_reader

    def open_readers(root: Path = ROOT) -> tuple[SignalReader, ...]:
        """Given the root of the file system, return a reader for each push signal that this machine has."""
        found = (open_clock_set_reader(), open_links_reader(root), open_vmclock_reader(root),
                 open_host_name_reader(root))
        return tuple(reader for reader in found if reader is not None)


# --- The watch

CLOSE_WAIT_S = 2.0      # for the thread to end; it is a daemon thread, so nothing hangs on it


class PauseWatch:
    """Given `post`, brings each pause and each step of the wall clock above the threshold as `Resumed`, once.

    The other callbacks (see `PauseCallbacks`) are called on the watch's thread: they must not block."""

    def __init__(self, post: Callable[[Observation], None], settings: PauseWatchSettings | None = None, *,
                 clocks: Clocks | None = None, counters: CounterSource | None = None,
                 readers: Sequence[SignalReader] | None = None, clock_was_set: Callable[[], None] = post_nowhere,
                 outside_wanted: Callable[[], None] = post_nowhere,
                 host_changed: Callable[[str, str], None] = post_nowhere,
                 disruption_announced: Callable[[bool], None] = post_nowhere) -> None:
        self._settings = settings or PauseWatchSettings()
        self._wait = new_wait()
        self._outside = SourceSamples()
        self._readers = list(open_readers() if readers is None else readers)
        self._detector = PauseDetector(post, self._settings, clocks or MachineClocks(), counters or open_counters(),
                                outside=self._outside, listeners=PauseCallbacks(
                                    clock_was_set, outside_wanted, host_changed, disruption_announced))
        self._mute: set[SignalReader] = set()
        self._proofs: deque[MoveProved] = deque()
        self._period_ns = self._settings.tick_ns
        self._closing = False
        self._has_begun = False
        self._loop = Loop("pause-watch", self._watch)

    def start(self) -> None:
        """Begin to watch. Never blocks."""
        self._loop.start()

    def watch_near_event(self) -> None:
        """An event is near or has started: read the clocks more often. Any thread; never blocks."""
        self._detector.expect_event()
        self._pace(self._settings.close_tick_ns)

    def watch_idle(self) -> None:
        """No event is near: read the clocks at the calm pace. Any thread; never blocks."""
        self._detector.expect_nothing()
        self._pace(self._settings.tick_ns)

    def outside_sample(self, source: str, raw_ns: int, offset_ns: int, bound_ns: int) -> None:
        """Given that outside time was `offset_ns ± bound_ns` ahead of the raw clock when the question left at `raw_ns`,
        compare it with this source's earlier samples. Any thread; never blocks.

        `source`: one clock with one error, so an address and not a pool's name. `bound_ns`: by how much two answers
        of it may differ; half the round trip is enough, for what a server is wrong by itself cancels."""
        if self._outside.add(source, SourceSample(raw_ns, offset_ns, bound_ns)):
            self._wait.wake()

    def outside_date(self, source: str, document: Document) -> None:
        """Given a source's answer, take the Date it was sent with as a sample, if it has one. Any thread."""
        if document.date is not None:
            asked_ns, received_ns = round(document.asked_raw_s * NS), round(document.received_raw_s * NS)
            sample = sample_of_date(document.date, asked_ns, received_ns)
            self.outside_sample(source, sample.raw_ns, sample.offset_ns, sample.bound_ns)

    def move_proved(self, words: str) -> None:
        """The platform shows that this machine has moved to another host: evidence of the pause of now, or of one that
        no clock shows. Any thread; never blocks."""
        self._proofs.append(MoveProved(words))
        self._wait.wake()

    def check_now(self) -> None:
        """Something may have happened to this machine or its clock: read the clocks. Any thread; never blocks."""
        self._wait.wake()

    def close(self) -> None:
        """End the watch and give its descriptors back."""
        self._closing = True
        self._wait.wake()
        if self._loop.end(CLOSE_WAIT_S):
            for reader in self._readers:
                reader.close()
            self._detector.close()
            self._wait.close()

    def _pace(self, period_ns: int) -> None:
        if period_ns != self._period_ns:
            self._period_ns = period_ns
            self._wait.wake()

    def _watch(self) -> None:
        if not self._has_begun:         # after an exception what lies between two beats is still looked at
            self._wait.watch(fd for fd in (reader.fileno() for reader in self._readers) if fd is not None)
            self._detector.begin()
            self._has_begun = True
        while not self._closing:
            period_ns = self._settings.close_tick_ns if self._detector.is_waiting else self._period_ns
            woken = self._wait.wait(period_ns)
            self._detector.tick(period_ns, self._read_signals(woken))

    def _read_signals(self, woken: WaitResult) -> list[PushSignal]:
        """What the readers have to say. One whose descriptor broke is asked on every beat from then on."""
        if woken.broken:
            self._wait.forget(woken.broken)
            self._mute.update(reader for reader in self._readers if reader.fileno() in woken.broken)
        proofs = [self._proofs.popleft() for _ in range(len(self._proofs))]
        return proofs + [signal for reader in self._readers
                         if reader.fileno() in woken.readable or reader.unfinished or self._is_mute(reader)
                         for signal in reader.read()]

    def _is_mute(self, reader: SignalReader) -> bool:
        return reader.fileno() is None or reader in self._mute
