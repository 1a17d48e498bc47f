"""How busy the machine's other processes usually are, and the evidence of a gap. Runs on the watch's own turn."""
from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from tideover.pause.counters import CounterSource
from tideover.timekeeping.gaps import NS
from tideover.timekeeping.stalls import NOT_KNOWN, Activity, Counters, Stall, background_rate, stall_between

# The background rate is the lower quartile of the newest stretches: a burst of work does not raise it, and a machine
# that has just become quiet does not look like one that stands still. A second evens out what happens every second.
STRETCH_NS = NS
STRETCHES_KEPT = 20
STRETCHES_NEEDED = 3


class Background:
    """Keeps the counters fresh within their price, learns the background rate, and gathers what both say of a gap."""

    def __init__(self, source: CounterSource) -> None:
        self._source = source
        self._counters, self._read_at_ns = Counters(), 0
        self._stretch, self._stretch_at_ns = Counters(), 0
        self._rates: deque[Activity] = deque(maxlen=STRETCHES_KEPT)
        self._processors = os.cpu_count() or 1
        self._clocksource = ""

    def begin(self, raw_ns: int) -> None:
        """Given the time, read the counters for the first time."""
        self._source.read()       # the first costs more than all others: files to open, code to load
        self._read(raw_ns)
        self._stretch, self._stretch_at_ns = self._counters, raw_ns
        self._clocksource = self._source.clocksource()

    def learn(self, raw_ns: int, event_is_near: bool = False) -> None:
        """Given the time of an ordinary beat, read the counters if that is affordable by now.

        While an event is near they are read at any price: what ran before a stop must not be taken for having run in
        it. So is the little that the first judgement needs."""
        if not event_is_near and raw_ns - self._read_at_ns < self._rest_ns():
            return
        self._read(raw_ns)
        if raw_ns - self._stretch_at_ns >= STRETCH_NS:
            rate = background_rate(self._stretch, self._counters, (raw_ns - self._stretch_at_ns) / NS)
            if rate != NOT_KNOWN:
                self._rates.append(rate)
            self._stretch, self._stretch_at_ns = self._counters, raw_ns

    def _rest_ns(self) -> int:
        affordable_ns = self._source.affordable_every_ns()
        return affordable_ns if len(self._rates) >= STRETCHES_NEEDED else min(STRETCH_NS, affordable_ns)

    def around(self, raw_ns: int, length_ns: int, suspended_ns: int) -> Stall:
        """Given the time after a gap, and how long it must have been, return the evidence about who stood still."""
        before, elapsed_s = self._counters, (raw_ns - self._read_at_ns) / NS
        self._read(raw_ns)
        self._stretch, self._stretch_at_ns = self._counters, raw_ns
        stall = stall_between(before, self._counters, gap_s=length_ns / NS,
                              running_s=max(0.0, elapsed_s - length_ns / NS), rate=self._rate(),
                              processors=self._processors)
        return replace(stall, suspended_s=suspended_ns / NS, traced_by=self._source.traced_by())

    def clocksource(self) -> tuple[str, str] | None:
        """Return the kernel's clocksource before, as last asked, and now; None where it does not say."""
        before, self._clocksource = self._clocksource, self._source.clocksource()
        return (before, self._clocksource) if before and self._clocksource else None

    def close(self) -> None:
        self._source.close()

    def _read(self, raw_ns: int) -> None:
        self._counters, self._read_at_ns = self._source.read(), raw_ns

    def _rate(self) -> Activity:
        if len(self._rates) < STRETCHES_NEEDED:
            return NOT_KNOWN
        return Activity(_quiet(one.switches for one in self._rates), _quiet(one.interrupts for one in self._rates))


def _quiet(rates: Iterable[float | None]) -> float | None:
    """The lower quartile."""
    known = sorted(one for one in rates if one is not None)
    return known[len(known) // 4] if known else None
