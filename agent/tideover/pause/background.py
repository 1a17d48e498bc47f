"""How busy the machine's other processes usually are, and the evidence of a gap. Runs on the watch's own turn."""
from __future__ import annotations

from dataclasses import replace

from tideover.pause.counters import CounterSource
from tideover.timekeeping.gaps import NS, Counters, Stall, background_rate, stall_between

MEMORY_S = 30.0         # of the background rate: old enough to be steady, young enough to follow the machine's work
LEAST_LEARNED_S = 1.0   # of running before the rate means anything


class Background:
    """Keeps the counters fresh within their price, learns the background rate, and gathers what both say of a gap."""

    def __init__(self, source: CounterSource) -> None:
        self._source = source
        self._counters, self._read_at_ns = Counters(), 0
        self._rate, self._learned_s = 0.0, 0.0
        self._clocksource = ""

    def begin(self, raw_ns: int) -> None:
        """Given the time, read the counters for the first time."""
        self._source.read()       # the first costs more than all others: files to open, code to load
        self._counters, self._read_at_ns = self._source.read(), raw_ns
        self._clocksource = self._source.clocksource()

    def learn(self, raw_ns: int) -> None:
        """Given the time of an ordinary beat, read the counters if that is affordable by now."""
        if raw_ns - self._read_at_ns < self._source.affordable_every_ns():
            return
        before, elapsed_s = self._counters, (raw_ns - self._read_at_ns) / NS
        self._counters, self._read_at_ns = self._source.read(), raw_ns
        rate = background_rate(before, self._counters, elapsed_s)
        if rate is not None:
            self._learned_s = min(MEMORY_S, self._learned_s + elapsed_s)
            self._rate += (rate - self._rate) * elapsed_s / self._learned_s

    def around(self, raw_ns: int, length_ns: int, suspended_ns: int) -> Stall:
        """Given the time after a gap, and how long it must have been, return the evidence about who stood still."""
        before, stretch_s = self._counters, (raw_ns - self._read_at_ns) / NS
        self._counters, self._read_at_ns = self._source.read(), raw_ns
        stall = stall_between(before, self._counters, gap_s=length_ns / NS,
                              running_s=max(0.0, stretch_s - length_ns / NS),
                              rate=self._rate if self._learned_s >= LEAST_LEARNED_S else None)
        return replace(stall, suspended_s=suspended_ns / NS, traced_by=self._source.traced_by())

    def clocksource(self) -> tuple[str, str] | None:
        """Return the kernel's clocksource before, as last asked, and now; None where it does not say."""
        before, self._clocksource = self._clocksource, self._source.clocksource()
        return (before, self._clocksource) if before and self._clocksource else None

    def close(self) -> None:
        self._source.close()
