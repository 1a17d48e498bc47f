"""The two clocks of this machine that the check needs. Reads them; never sets one."""
from __future__ import annotations

from typing import Protocol

from tideover.system import clocks as machine

_TRIES = 3      # the narrowest of three brackets: 0.2 µs wide unless we are thrown off the processor each time


class Clocks(Protocol):
    """Where readings come from; tests play any clock through it."""

    def raw_ns(self) -> int: ...

    def wall_ns(self) -> int: ...


class SystemClocks:
    """This machine's own clocks."""

    def raw_ns(self) -> int:
        """Return nanoseconds of the clock that nobody sets or slews."""
        return machine.raw_ns()

    def wall_ns(self) -> int:
        """Return nanoseconds since 1970 of the clock that may be wrong."""
        return machine.wall_ns()


def wall_minus_raw_ns(clocks: Clocks) -> int:
    """Given clocks, return how far the wall clock is from the raw one, from the narrowest of a few brackets."""
    narrowest, distance = -1, 0
    for _ in range(_TRIES):
        before, wall, after = clocks.raw_ns(), clocks.wall_ns(), clocks.raw_ns()
        if narrowest < 0 or after - before < narrowest:
            narrowest, distance = after - before, wall - (before + after) // 2
    return distance
