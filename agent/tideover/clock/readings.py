"""The two clocks of this machine that the check needs. Reads them; never sets one."""
from __future__ import annotations

import time
from typing import Protocol

_TRIES = 3      # the narrowest of three brackets: 0.2 µs wide unless we are thrown off the processor each time


class Clocks(Protocol):
    """Where readings come from; tests play any clock through it."""

    def raw_ns(self) -> int: ...

    def wall_ns(self) -> int: ...


class SystemClocks:
    """This machine's own clocks."""

    def raw_ns(self) -> int:
        """Return nanoseconds of CLOCK_MONOTONIC_RAW; where it is missing, of the performance counter."""
        if hasattr(time, "CLOCK_MONOTONIC_RAW"):
            return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        return time.perf_counter_ns()

    def wall_ns(self) -> int:
        """Return nanoseconds since 1970 of the clock that may be wrong."""
        return time.time_ns()


def wall_minus_raw_ns(clocks: Clocks) -> int:
    """Given clocks, return how far the wall clock is from the raw one, from the narrowest of a few brackets."""
    narrowest, distance = -1, 0
    for _ in range(_TRIES):
        before, wall, after = clocks.raw_ns(), clocks.wall_ns(), clocks.raw_ns()
        if narrowest < 0 or after - before < narrowest:
            narrowest, distance = after - before, wall - (before + after) // 2
    return distance
