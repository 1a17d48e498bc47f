"""Interval arithmetic on time samples: consensus of several sources, drift, slew rates, inside the tolerance or not.

Reads no clock.

A source's answer is kept as *truth minus raw*: how far true time is from CLOCK_MONOTONIC_RAW. That number
stays true when the wall clock is stepped or slewed, so one sample can be held against the wall clock of
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
class TimeSample:
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


class ToleranceResult(enum.Enum):
    """What an interval of offsets says against a tolerance."""

    INSIDE = "inside"            # |offset| + bound within the tolerance
    OUTSIDE = "outside"          # |offset| - bound beyond it
    OPEN = "open"                # the tolerance lies between: the bound does not decide


def compare(behind: Interval, tolerance_ns: int) -> ToleranceResult:
    """Given where the offset lies, return what that means for a tolerance."""
    if max(abs(behind.low_ns), abs(behind.high_ns)) <= tolerance_ns:
        return ToleranceResult.INSIDE
    if behind.low_ns > tolerance_ns or behind.high_ns < -tolerance_ns:
        return ToleranceResult.OUTSIDE
    return ToleranceResult.OPEN


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


def best(samples: Sequence[TimeSample], raw_ns: int) -> TimeSample:
    """Given samples of one address (at least one) and now, return the one to go by.

    The smallest bound wins, that is nearly always the smallest delay. Only samples that can be true together with
    the newest count: if truth minus raw has jumped, the server was set or the raw clock stopped meanwhile, and
    either way the older ones are void.
    """
    newest = max(samples, key=lambda one: one.ended_raw_ns)
    now = newest.interval_at(raw_ns)
    alike = [one for one in samples if one.interval_at(raw_ns).touches(now)]
    return min(alike, key=lambda one: one.bound_at(raw_ns))


@dataclass(frozen=True, slots=True)
class Consensus:
    """What all sources together say at one instant."""

    truth_minus_raw: Interval | None      # None: no answer, or no majority
    chosen: tuple[TimeSample, ...] = ()       # the one sample of each address that was gone by
    outliers: tuple[TimeSample, ...] = ()     # … of these, those that contradict the majority
    servers: int = 0                      # that answered
    agreeing: int = 0                     # … and agree

    def behind(self, wall_minus_raw_ns: int) -> Interval | None:
        """Given this machine's wall minus raw, return how far it is behind."""
        return None if self.truth_minus_raw is None else self.truth_minus_raw.less(wall_minus_raw_ns)


def combine(samples: Iterable[TimeSample], raw_ns: int, asked: dict[str, int] | None = None) -> Consensus:
    """Given samples and now, return what the sources say together; one server is one voice, whatever its addresses.

    `asked`: addresses asked of each server. Given, the silent ones count as contradicting: the answer is then one
    that they cannot turn any more. None: only those that answered count.
    """
    voices: dict[str, list[TimeSample]] = {}
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
        return Consensus(None, chosen_all, servers=len(voices))
    out = tuple(one for one in chosen_all if not one.interval_at(raw_ns).touches(common))
    return Consensus(common, chosen_all, out, len(voices), sum(span.touches(common) for span in spans))


def _by_address(samples: Iterable[TimeSample]) -> dict[tuple[str, str], list[TimeSample]]:
    found: dict[tuple[str, str], list[TimeSample]] = {}
    for one in samples:
        found.setdefault((one.server, one.address), []).append(one)
    return found


def ahead_s(behind_ns: int) -> float:
    """Given NTP's sign (positive: behind), return the record's (positive: ahead), in seconds."""
    return -behind_ns / NS


# --- Slew: how long a slewing clock still needs
# A rate is a plain number, seconds gained on the raw clock for each second: 0.083 is chrony's fastest.

# A clock that is only kept in step is corrected by tens of ppm; what is faster is being moved on purpose.
SLEWING = 100e-6
_FASTEST = 0.15             # the kernel takes ±10 % of tick and 500 ppm of frequency; more was a step
_SHORTEST_NS = NS // 2      # two readings closer than this tell their own noise


def kernel_rate(tick_us: int, usual_tick_us: int, frequency_ppm: float) -> float:
    """Given adjtimex's tick, the tick of an untouched clock and the frequency correction, return the rate."""
    return (tick_us - usual_tick_us) / usual_tick_us + frequency_ppm * 1e-6


def measured_rate(elapsed_ns: int, moved_ns: int) -> float | None:
    """Given raw time elapsed and how far the wall clock moved against raw, return the rate. None: a step, or too short.
    """
    if elapsed_ns < _SHORTEST_NS:
        return None
    rate = moved_ns / elapsed_ns
    return rate if abs(rate) <= _FASTEST else None


def is_slewing(rate: float | None) -> bool:
    """Is a clock of this rate being moved on purpose? No rate known: no."""
    return rate is not None and abs(rate) >= SLEWING


def seconds_until_good(behind: Interval, tolerance_ns: int, rate: float) -> float | None:
    """Given where the offset lies, return how long a clock of this rate needs until all of it is inside the tolerance.

    None: it does not move, moves away, or the interval is too wide ever to fit.
    """
    if not is_slewing(rate) or behind.half_ns > tolerance_ns:
        return None
    missing_ns = behind.high_ns - tolerance_ns if rate > 0 else -tolerance_ns - behind.low_ns
    return missing_ns / NS / abs(rate) if missing_ns > 0 else None


# --- Hypervisor clocks that depend on messages of the host: when one may be believed
# Hyper-V's clock is the last message's time plus the reference counter since (drivers/hv/hv_util.c). The counter stands
# still with the guest, so after a resume the clock is late by the whole pause, and looks as right as ever, until the
# next message, which comes every 5 s.

MESSAGES_APART_NS = 6 * NS      # the host's 5 s, with room
_NOISE_NS = 100_000             # two messages differ by their own latency; one message does not differ from itself


@dataclass(frozen=True, slots=True)
class HypervisorReading:
    """The hardware clock's distance from the raw clock at one instant, known to ± width_ns."""

    raw_ns: int
    distance_ns: int
    width_ns: int


def is_fresh(readings: Sequence[HypervisorReading], since_ns: int) -> bool:
    """Given readings in order (at least one) and the resume, does the newest rest on a message sent after it?

    It does when the distance has moved between two readings after the resume, or stayed for longer than the host is
    ever silent.
    """
    newest = readings[-1]
    return any(_has_moved(one, newest) or newest.raw_ns - one.raw_ns >= MESSAGES_APART_NS
               for one in readings[:-1] if one.raw_ns >= since_ns)


def _has_moved(before: HypervisorReading, after: HypervisorReading) -> bool:
    noise_ns = _NOISE_NS + before.width_ns + after.width_ns + drift_ns(after.raw_ns - before.raw_ns)
    return abs(after.distance_ns - before.distance_ns) > noise_ns
