"""What two readings of this machine's own clocks and counters say: a gap, a step, a suspend; the machine or only us.

Three numbers between two readings, all against CLOCK_MONOTONIC_RAW, which nobody steps or slews:
`V` visible gap, how much longer a wait took than it was asked to; `S` step, how far the wall clock moved against the
monotonic one (constant but for steps, as both run under the same NTP multiplier); `Z` suspended, how far CLOCK_BOOTTIME
moved against CLOCK_MONOTONIC. A machine whose clocks stood still with it shows none of the three: see `fusion`.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tideover.timekeeping.agreement import Interval

NS = 1_000_000_000

# Smallest step told: a leap second and every daemon's step are far above, the noise of a bracketed reading far below.
STEP_NS = 1_000_000

# A thread's first turn after a resume takes 0.1 to 3 ms on an idle machine; a wait's own rounding is 1 ms.
LEAST_WAKE_NS = 5_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """Four clocks of this machine at one instant, in nanoseconds. `width_ns`: how long reading them took."""

    raw_ns: int
    mono_ns: int
    wall_ns: int
    boot_ns: int
    width_ns: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """How long a wait took on the raw clock, and how long it was asked to take at most."""

    elapsed_ns: int
    period_ns: int

    @property
    def visible_ns(self) -> int:
        """V: the wait was interrupted for at least this long."""
        return max(0, self.elapsed_ns - self.period_ns)

    @property
    def length(self) -> Interval:
        """How long the interruption took: it began anywhere in the wait. The wake-up after it comes on top."""
        return Interval(self.visible_ns, self.elapsed_ns)


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the wall clock was stepped and how long the machine was suspended between two readings."""

    stepped_ns: int          # S; > 0: the wall clock was set forward
    suspended_ns: int        # Z
    slack_ns: int            # both are known to ± this

    @property
    def is_step(self) -> bool:
        return abs(self.stepped_ns) >= STEP_NS + self.slack_ns

    @property
    def is_suspend(self) -> bool:
        return self.suspended_ns >= STEP_NS + self.slack_ns


def gap_between(before: Reading, after: Reading, period_ns: int) -> Gap:
    """Given two readings around a wait of at most `period_ns`, return the gap between them."""
    return Gap(after.raw_ns - before.raw_ns, period_ns)


def shift_between(before: Reading, after: Reading) -> Shift:
    """Given two readings, return step and suspend. That a suspend moves the wall clock too is no step."""
    suspended = (after.boot_ns - after.mono_ns) - (before.boot_ns - before.mono_ns)
    stepped = (after.wall_ns - after.mono_ns) - (before.wall_ns - before.mono_ns) - suspended
    return Shift(stepped, suspended, (before.width_ns + after.width_ns) // 2)


def are_together(one: Reading, other: Reading) -> bool:
    """Whether wall, boot and monotonic clock are as far apart in both readings: no step or suspend to look for."""
    return (abs((one.wall_ns - one.mono_ns) - (other.wall_ns - other.mono_ns)) < STEP_NS
            and abs((one.boot_ns - one.mono_ns) - (other.boot_ns - other.mono_ns)) < STEP_NS)


def wake_latency_ns(recent_lateness_ns: Sequence[int]) -> int:
    """Given by how much the recent waits were late, return how late a wake-up must be expected to be.

    The second largest: one hiccup is chance, two are this machine's way."""
    return max([LEAST_WAKE_NS, *sorted(recent_lateness_ns)[-2:-1]])
