"""The clock for a person at a terminal: one check at once, or one after the other."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tideover.clock.bell import Bell
from tideover.clock.daemons import find_daemon
from tideover.clock.inquiry import ROUND_S, Inquiry
from tideover.clock.judging import Judge
from tideover.clock.nouns import ClockReport
from tideover.clock.readings import Clocks, SystemClocks, wall_minus_raw_ns
from tideover.clock.settings import ClockSettings
from tideover.clock.sources import find_sources, origin_text
from tideover.clock.surroundings import Surroundings
from tideover.clock.verdict import as_record, reports
from tideover.clock.words import aged
from tideover.model import Verdict, utc
from tideover.timekeeping.agreement import NS, Sample, stand
from tideover.timekeeping.host_time import MESSAGES_APART_NS

_HOST_WAIT_NS = MESSAGES_APART_NS + NS      # a hardware clock that lives on messages proves itself within this
_LOOK_AGAIN_S = 0.5


def check_now(settings: ClockSettings, clocks: Clocks | None = None, limit_s: float = ROUND_S,
              surroundings: Surroundings | None = None) -> ClockReport:
    """Given the owner's settings, ask every source once and return what they say.

    Blocks for `limit_s` at most; for some seconds more where only Hyper-V's clock can tell and its host is to be
    waited for.
    """
    look = _Look(settings, clocks or SystemClocks(), surroundings or Surroundings())
    try:
        return look.once(limit_s)
    finally:
        look.close()


def watch_clock(settings: ClockSettings, clocks: Clocks | None = None, interval_s: float = 1.0,
                surroundings: Surroundings | None = None) -> Iterator[ClockReport]:
    """Given the owner's settings, yield what is known of the clock at once and then every `interval_s`.

    Each source is asked as often as good manners allow; between, what it said is held against the clock again.
    """
    machine = surroundings or Surroundings()
    look = _Look(settings, clocks or SystemClocks(), machine)
    try:
        while True:
            yield look.once(ROUND_S)
            machine.sleep(interval_s)
    finally:
        look.close()


class _Look:
    """One person's look at the clock, with what it has learnt so far."""

    def __init__(self, settings: ClockSettings, clocks: Clocks, surroundings: Surroundings) -> None:
        self._clocks, self._surroundings, self._bell = clocks, surroundings, Bell()
        self._daemon = find_daemon(surroundings)
        self._sources = find_sources(settings, surroundings, self._daemon)
        self._inquiry = Inquiry(clocks, surroundings, self._bell)
        self._inquiry.since_ns = clocks.raw_ns()
        self._judge = Judge(self._inquiry, clocks, surroundings, int(settings.tolerance_s * NS))

    def once(self, limit_s: float) -> ClockReport:
        known = self._daemon.report() if self._daemon else None
        daemon = aged(known, utc(self._clocks.wall_ns() / NS), None) if known else None
        if not self._sources:
            return ClockReport(self._judge.no_source(), (), "", daemon)
        new = self._ask(limit_s)
        while self._judge.find(0).verdict is Verdict.UNKNOWN and self._may_the_host_speak():
            self._surroundings.sleep(_LOOK_AGAIN_S)
            new += self._ask(limit_s)
        distance_ns = wall_minus_raw_ns(self._clocks)
        check = replace(self._judge.find(0), samples=tuple(as_record(one) for one in new))
        told = reports(stand(self._inquiry.samples, self._clocks.raw_ns()), distance_ns, self._inquiry.refused.values())
        origins = {one.server: one.origin.value for one in self._sources}
        return ClockReport(check, tuple(replace(one, origin=origins.get(one.server, "")) for one in told),
                           origin_text(self._sources, self._daemon), daemon)

    def close(self) -> None:
        self._bell.close()

    def _ask(self, limit_s: float) -> list[Sample]:
        return self._inquiry.ask(self._sources, limit_s, lambda: False, lambda known, asked: False)

    def _may_the_host_speak(self) -> bool:
        waited_ns = self._clocks.raw_ns() - self._inquiry.since_ns
        return self._inquiry.awaits_host and waited_ns < _HOST_WAIT_NS
