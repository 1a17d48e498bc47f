"""This machine's clocks, read: the one object every part that needs the time is given, so that tests play any clock.

It never decides anything and keeps nothing.
"""
from __future__ import annotations

from typing import Protocol

from tideover.model import Moment, utc
from tideover.system.clocks import boot_ns, mono_ns, raw_ns, read_boot_id, wall_ns
from tideover.timekeeping.gaps import NS, Reading

# A bracket this narrow is good to a thousandth of the smallest step; a wider one was interrupted and is tried again.
NARROW_NS = 20_000
TRIES = 3

__all__ = ["Clocks", "MachineClocks", "read_all", "read_boot_id"]


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
        return Moment(utc(self.wall_ns() / NS), self.raw_ns() / NS)


def read_all(clocks: Clocks) -> Reading:
    """Given clocks, return all four at one instant: the others read between two readings of the monotonic one."""
    best = _bracket(clocks)
    for _ in range(TRIES - 1):
        if best.width_ns <= NARROW_NS:
            return best
        best = min(best, _bracket(clocks), key=lambda reading: reading.width_ns)
    return best


def _bracket(clocks: Clocks) -> Reading:
    opened = clocks.mono_ns()
    wall, boot, raw = clocks.wall_ns(), clocks.boot_ns(), clocks.raw_ns()
    closed = clocks.mono_ns()
    return Reading(raw, (opened + closed) // 2, wall, boot, closed - opened)
