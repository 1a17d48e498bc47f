"""What several sources of time say together: intervals, the majority's common part, the verdict.

A source's answer is kept as *truth minus raw*: how far true time is from CLOCK_MONOTONIC_RAW. That number
stays true when somebody steps or slews the wall clock, so one sample can be held against the wall clock of
any later instant. Only a pause that stops the raw clock makes it void: samples from before one do not count.
Sign: positive = this machine is behind, as in NTP. The record's sign is the opposite one; `ahead_s` turns it.
"""
from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NS = 1_000_000_000

# How far RAW may drift from true time: uncalibrated, or on another host after a migration (the vmclock
# specification allows its counter's frequency to change by 50 ppm; ClockBound grows its bound by the same).
DRIFT_PPM = 50


@dataclass(frozen=True, slots=True)
class Interval:
    """Closed interval of nanoseconds."""

    low_ns: int
    high_ns: int

    @property
    def middle_ns(self) -> int:
        return (self.low_ns + self.high_ns) // 2

    @property
    def half_ns(self) -> int:
        return (self.high_ns - self.low_ns + 1) // 2

    def less(self, ns: int) -> Interval:
        return Interval(self.low_ns - ns, self.high_ns - ns)

    def touches(self, other: Interval) -> bool:
        return self.low_ns <= other.high_ns and other.low_ns <= self.high_ns


@dataclass(frozen=True, slots=True)
class Sample:
    """One valid answer of one address of one source."""

    server: str
    address: str
    truth_minus_raw_ns: int
    wall_minus_raw_ns: int       # of this machine when the answer came
    delay_ns: int
    bound_ns: int                # the truth lies in truth_minus_raw_ns ± bound_ns when the source is right
    began_raw_ns: int
    ended_raw_ns: int
    stratum: int = 0

    @property
    def behind_ns(self) -> int:
        """How far this machine was behind when the answer came."""
        return self.truth_minus_raw_ns - self.wall_minus_raw_ns

    def bound_at(self, raw_ns: int) -> int:
        """Given a later instant, return the bound with what the raw clock may have drifted since."""
        return self.bound_ns + drift_ns(raw_ns - self.began_raw_ns)

    def interval_at(self, raw_ns: int) -> Interval:
        """Given a later instant, return where truth minus raw lies then."""
        bound = self.bound_at(raw_ns)
        return Interval(self.truth_minus_raw_ns - bound, self.truth_minus_raw_ns + bound)


def drift_ns(elapsed_ns: int) -> int:
    """Given a stretch of raw time, return how much it may be wrong by."""
    return abs(elapsed_ns) * DRIFT_PPM // 1_000_000 + 1


class Ruling(enum.Enum):
    """What an interval of offsets says against a tolerance."""

    INSIDE = "inside"            # |offset| + bound within the tolerance
    OUTSIDE = "outside"          # |offset| - bound beyond it
    OPEN = "open"                # the tolerance lies between: the bound does not decide


def rule(behind: Interval, tolerance_ns: int) -> Ruling:
    """Given where the offset lies, return what that means for a tolerance."""
    if max(abs(behind.low_ns), abs(behind.high_ns)) <= tolerance_ns:
        return Ruling.INSIDE
    if behind.low_ns > tolerance_ns or behind.high_ns < -tolerance_ns:
        return Ruling.OUTSIDE
    return Ruling.OPEN


def majority(intervals: Sequence[Interval], asked: int) -> Interval | None:
    """Given intervals of sources and how many were asked, return the span of all points that more than half share.

    The truth lies inside as long as more than half of those asked are right, wherever the others lie: stricter
    than Marzullo's densest point (RFC 5905 §11.2.1), into which one liar can draw the answer. None: no point has
    a majority; the sources disagree, or too few answered.
    """
    need = asked // 2 + 1
    edges = sorted([(one.low_ns, 0) for one in intervals] + [(one.high_ns, 1) for one in intervals])
    low: int | None = None
    high = depth = 0
    for at, closes in edges:
        if closes and depth >= need:
            high = at
        depth += -1 if closes else 1
        if not closes and depth >= need and low is None:
            low = at
    return None if low is None else Interval(low, high)


def best(samples: Sequence[Sample], raw_ns: int) -> Sample:
    """Given samples of one address (at least one) and now, return the one to go by.

    The smallest bound wins, that is nearly always the smallest delay. Only samples that can be true together with
    the newest count: if truth minus raw has jumped, the server was set or the raw clock stood still meanwhile, and
    either way the older ones are void.
    """
    newest = max(samples, key=lambda one: one.ended_raw_ns)
    now = newest.interval_at(raw_ns)
    alike = [one for one in samples if one.interval_at(raw_ns).touches(now)]
    return min(alike, key=lambda one: one.bound_at(raw_ns))


@dataclass(frozen=True, slots=True)
class Standing:
    """What all sources together say at one instant."""

    truth_minus_raw: Interval | None      # None: no answer, or no majority
    chosen: tuple[Sample, ...] = ()       # the one sample of each address that was gone by
    outliers: tuple[Sample, ...] = ()     # … of these, those that contradict the majority
    servers: int = 0                      # that answered
    agreeing: int = 0                     # … and agree

    def behind(self, wall_minus_raw_ns: int) -> Interval | None:
        """Given this machine's wall minus raw, return how far it is behind."""
        return None if self.truth_minus_raw is None else self.truth_minus_raw.less(wall_minus_raw_ns)


def stand(samples: Iterable[Sample], raw_ns: int, asked: dict[str, int] | None = None) -> Standing:
    """Given samples and now, return what the sources say together; one server is one voice, whatever its addresses.

    `asked`: addresses asked of each server. Given, the silent ones count as contradicting: the answer is then one
    that they cannot turn any more. None: only those that answered count.
    """
    voices: dict[str, list[Sample]] = {}
    for _, own in sorted(_by_address(samples).items()):
        chosen = best(own, raw_ns)
        voices.setdefault(chosen.server, []).append(chosen)
    spans: list[Interval] = []
    for server, own in voices.items():
        span = majority([one.interval_at(raw_ns) for one in own], len(own) if asked is None else asked.get(server, 0))
        if span is not None:
            spans.append(span)
    common = majority(spans, len(voices) if asked is None else len(asked))
    chosen_all = tuple(one for own in voices.values() for one in own)
    if common is None:
        return Standing(None, chosen_all, servers=len(voices))
    out = tuple(one for one in chosen_all if not one.interval_at(raw_ns).touches(common))
    return Standing(common, chosen_all, out, len(voices), sum(span.touches(common) for span in spans))


def _by_address(samples: Iterable[Sample]) -> dict[tuple[str, str], list[Sample]]:
    found: dict[tuple[str, str], list[Sample]] = {}
    for one in samples:
        found.setdefault((one.server, one.address), []).append(one)
    return found


def ahead_s(behind_ns: int) -> float:
    """Given NTP's sign (positive: behind), return the record's (positive: ahead), in seconds."""
    return -behind_ns / NS
