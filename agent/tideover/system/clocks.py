"""This machine's clocks, in nanoseconds, its boot id, and the readers that are passed to whatever needs the time.

Read; never set.

It never decides anything and keeps nothing.
"""
from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Protocol

from tideover.model import Moment, utc
from tideover.timekeeping.gaps import ClockReading
from tideover.timekeeping.intervals import NS

# `raw_ns`: it is never set or slewed, and it stops in a suspend (Linux: CLOCK_MONOTONIC_RAW). `mono_ns`: the same,
# or slewed with the wall clock. `boot_ns`: the monotonic one and all suspends besides. `wall_ns`: since 1970, may be
# wrong. The values of the first three mean the same in every process of one boot.

if sys.platform == "win32":
    from tideover.winapi import clocks as windows

    raw_ns = mono_ns = windows.raw_reader()
    boot_ns = windows.biased_reader() or raw_ns
    wall_ns = windows.wall_reader()
    WALL_IS_SLEWED_ALONE = True
    """The time service slews the wall clock and nothing else, so that it drifts from the monotonic one."""

    def read_boot_id(root: Path = Path("/")) -> str:
        """Return the id of this boot; empty where the machine has none."""
        return windows.read_boot_id()

else:
    raw_ns = partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC_RAW)
    mono_ns = partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC)
    boot_ns = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
    wall_ns = time.time_ns
    WALL_IS_SLEWED_ALONE = False

    def read_boot_id(root: Path = Path("/")) -> str:
        """Return the id of this boot (proc(5): /proc/sys/kernel/random/boot_id); empty where the machine has none."""
        try:
            return (root / "proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""


def read_raw_s() -> float:
    """Return seconds of the raw clock."""
    return raw_ns() / NS


_TRIES = 3      # the narrowest of three brackets: 0.2 µs wide unless we are thrown off the processor each time


class RawWallClocks(Protocol):
    """The two clocks that a clock check needs; tests play any clock through it."""

    def raw_ns(self) -> int: ...

    def wall_ns(self) -> int: ...


def wall_minus_raw_ns(clocks: RawWallClocks) -> int:
    """Given clocks, return how far the wall clock is from the raw one, from the narrowest of a few brackets."""
    narrowest, distance = -1, 0
    for _ in range(_TRIES):
        before, wall, after = clocks.raw_ns(), clocks.wall_ns(), clocks.raw_ns()
        if narrowest < 0 or after - before < narrowest:
            narrowest, distance = after - before, wall - (before + after) // 2
    return distance


def read_moment() -> Moment:
    """Return this instant on the wall clock (UTC) and on the raw clock."""
    return Moment(utc(wall_ns() / NS), raw_ns() / NS)


# --- All clocks in one narrow bracket

# A bracket this narrow is good to a thousandth of the smallest step; a wider one was interrupted and is tried again.
NARROW_NS = 20_000
TRIES = 3


class Clocks(Protocol):
    """Nanoseconds on four clocks. Durations come from `raw_ns` alone."""

    def raw_ns(self) -> int: ...
    def mono_ns(self) -> int: ...
    def wall_ns(self) -> int: ...
    def boot_ns(self) -> int: ...
    def moment(self) -> Moment: ...


class MachineClocks:
    """The real ones."""

    def __init__(self) -> None:
        self.raw_ns, self.mono_ns, self.boot_ns, self.wall_ns = raw_ns, mono_ns, boot_ns, wall_ns

    def moment(self) -> Moment:
        """Return this instant on the wall clock (UTC) and on the raw clock."""
        return read_moment()


def read_all(clocks: Clocks) -> ClockReading:
    """Given clocks, return all four at one instant: the others read between two readings of the monotonic one."""
    best = _bracket(clocks)
    for _ in range(TRIES - 1):
        if best.width_ns <= NARROW_NS:
            return best
        best = min(best, _bracket(clocks), key=lambda reading: reading.width_ns)
    return best


def _bracket(clocks: Clocks) -> ClockReading:
    opened = clocks.mono_ns()
    wall, boot, raw = clocks.wall_ns(), clocks.boot_ns(), clocks.raw_ns()
    closed = clocks.mono_ns()
    return ClockReading(raw, (opened + closed) // 2, wall, boot, closed - opened)
