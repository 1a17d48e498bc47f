"""What is known by now, held against this machine's clock: verdict, offset, bound, and the reason in words.

Asks nobody. The same samples may be judged again and again, for they outlive a step of the wall clock.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from tideover.clock.inquiry import Inquiry
from tideover.clock.kernel import USUAL_TICK_US
from tideover.clock.nouns import DaemonReport
from tideover.clock.readings import Clocks, wall_minus_raw_ns
from tideover.clock.remedy import agrees_with
from tideover.clock.surroundings import Surroundings
from tideover.clock.verdict import conclude
from tideover.clock.words import aged, daemon_text, slewing_text
from tideover.model import NO_SOURCE, ClockCheck, Verdict, utc
from tideover.timekeeping.agreement import NS, Interval, Ruling, Sample, rule, stand
from tideover.timekeeping.slew import is_slewing, kernel_rate


class Judge:
    """Given what the inquiry knows. `daemon`: what the time daemon said last; `remedies`: what was done, by event."""

    def __init__(self, inquiry: Inquiry, clocks: Clocks, surroundings: Surroundings, tolerance_ns: int) -> None:
        self._inquiry, self._clocks, self._surroundings = inquiry, clocks, surroundings
        self._tolerance_ns = tolerance_ns
        self.daemon: DaemonReport | None = None
        self.remedies: dict[str, str] = {}

    def no_source(self) -> ClockCheck:
        return ClockCheck(Verdict.UNKNOWN, checked_at=utc(self._clocks.wall_ns() / NS), reason=NO_SOURCE)

    def find(self, since_ns: int, event_id: str = "", rate: float | None = None) -> ClockCheck:
        """Given the resume, the event, and the rate the clock was seen to move at, return all but the samples."""
        distance_ns, now_ns = wall_minus_raw_ns(self._clocks), self._clocks.raw_ns()
        standing = stand(self._newer(self._inquiry.samples, since_ns), now_ns)
        check = conclude(standing, distance_ns, self._tolerance_ns, self._inquiry.refused.values())
        now = utc((now_ns + distance_ns) / NS)
        reasons = (check.reason, self._slewing(check, standing.behind(distance_ns), rate),
                   self._daemon_words(now, since_ns), self.remedies.get(event_id, ""))
        return replace(check, checked_at=now, reason="; ".join(filter(None, reasons)))

    def has_heard(self, since_ns: int) -> bool:
        """Is there any answer since the resume?"""
        return bool(self._newer(self._inquiry.samples, since_ns))

    def is_decided(self, known: Sequence[Sample], since_ns: int, asked: dict[str, int]) -> bool:
        """Given samples and who was asked, can the silent not turn the verdict any more?"""
        return self._ruling(known, since_ns, asked) in (Ruling.INSIDE, Ruling.OUTSIDE)

    def is_open(self, since_ns: int) -> bool:
        """Is only the bound in the way of a verdict?"""
        return self._ruling(self._inquiry.samples, since_ns, None) is Ruling.OPEN

    def may_step(self, since_ns: int) -> Callable[[float], bool]:
        """Given the resume, return the question whether the daemon may step the clock by what it measured."""
        standing = stand(self._newer(self._inquiry.samples, since_ns), self._clocks.raw_ns())
        if standing.truth_minus_raw is None:
            return lambda offset_s: False
        return agrees_with(standing.truth_minus_raw, self._tolerance_ns, self._clocks)

    def wall_at(self, raw_ns: int) -> datetime:
        """Given an instant of the raw clock, return what the wall clock would have shown then, set as it is now."""
        return utc((raw_ns + wall_minus_raw_ns(self._clocks)) / NS)

    def _newer(self, samples: Sequence[Sample], since_ns: int) -> list[Sample]:
        return [one for one in samples if one.began_raw_ns >= since_ns]

    def _ruling(self, known: Sequence[Sample], since_ns: int, asked: dict[str, int] | None) -> Ruling | None:
        standing = stand(self._newer(known, since_ns), self._clocks.raw_ns(), asked)
        behind = standing.behind(wall_minus_raw_ns(self._clocks))
        return None if behind is None else rule(behind, self._tolerance_ns)

    def _slewing(self, check: ClockCheck, behind: Interval | None, rate: float | None) -> str:
        if check.verdict is Verdict.GOOD or behind is None:
            return ""
        if not is_slewing(rate):
            kernel = self._surroundings.kernel_clock()
            rate = kernel_rate(kernel.tick_us, USUAL_TICK_US, kernel.frequency_ppm) if kernel else None
        return slewing_text(behind, self._tolerance_ns, rate)

    def _daemon_words(self, now: datetime, since_ns: int) -> str:
        return daemon_text(aged(self.daemon, now, self.wall_at(since_ns))) if self.daemon else ""
