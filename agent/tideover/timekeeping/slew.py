"""How long a slewing clock still needs: arithmetic on its rate and its offset. Reads no clock.

A rate is a plain number, seconds gained on the raw clock for each second: 0.083 is chrony's fastest.
"""
from __future__ import annotations

from tideover.timekeeping.agreement import NS, Interval

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
