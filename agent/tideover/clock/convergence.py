"""Convergence after a check: when the clock is right again or stuck, and when the time daemon is made to
measure again.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from tideover.clock.daemons import Daemon, find_daemon
from tideover.clock.host import HostAccess
from tideover.clock.types import CommandResult
from tideover.model import ClockCheck, ClockSample, Verdict
from tideover.system.clocks import RawWallClocks, wall_minus_raw_ns
from tideover.timekeeping.intervals import NS, Interval, ToleranceResult, ahead_s, compare, is_slewing, measured_rate

LIMIT_S = 600.0              # what has not changed in ten minutes will not by itself
CONVERGED, FOLLOWING, STUCK = "converged", "following", "stuck"
_GOODS = 3                   # one after the other
_UPDATES = 2                 # of a daemon that had a wrong clock to correct: its first may go half way
_MOST_SAMPLES = 240          # in one telling
_STEP_NS = NS // 1000        # far above the noise of two readings; no slew gets so far before its rate is measurable


class ClockInstant(NamedTuple):
    """The raw clock, and the wall clock's distance from it."""

    raw_ns: int
    wall_minus_raw_ns: int


class ConvergenceMonitor:
    """One event's clock. `look` takes each finding, and returns what is to be reported."""

    def __init__(self, event_id: str, since_ns: int, verdict: ClockCheck, at: ClockInstant) -> None:
        self.event_id, self.since_ns = event_id, since_ns
        self.until_ns = at.raw_ns + int(LIMIT_S * NS)
        self.rate: float | None = None       # of the wall clock against raw, between the last two looks
        self._first, self._at = verdict, at
        self._good_after_s = verdict.good_after_s
        self._goods = int(verdict.verdict is Verdict.GOOD)
        self._was_bad = verdict.verdict is not Verdict.GOOD
        self._untold: list[ClockSample] = []
        self._updates: set[datetime] = set()
        self._names_updates = False

    def note_update(self, updated_at: datetime | None, resumed_at: datetime) -> None:
        """The time daemon says when it measured last; `resumed_at` by the same wall clock."""
        if updated_at is not None:
            self._names_updates = True
            if updated_at > resumed_at:
                self._updates.add(updated_at)

    def update(self, check: ClockCheck, new: Sequence[ClockSample], at: ClockInstant) -> str | None:
        """Given a finding and the samples it brought, return the state to tell, which ends it; None: not yet."""
        self._note_rate(at)
        self._untold += new
        if len(self._untold) > _MOST_SAMPLES:
            self._untold = self._untold[::2]      # the curve keeps its beginning and its shape
        if check.verdict is Verdict.BAD:
            self._goods, self._was_bad, self._good_after_s = 0, True, None
        elif check.verdict is Verdict.GOOD and new:
            self._goods += 1
            self._good_after_s = self._good_after_s or (at.raw_ns - self.since_ns) / NS
        if self._has_converged():
            return CONVERGED
        return self._at_the_end(check) if at.raw_ns >= self.until_ns else None

    def report(self, check: ClockCheck) -> ClockCheck:
        """Given the finding to tell, return it with all samples since the last telling."""
        good_after_s = self._good_after_s if check.verdict is Verdict.GOOD else None
        return replace(check, samples=tuple(self._untold), good_after_s=good_after_s)

    @property
    def has_untold(self) -> bool:
        return bool(self._untold)

    def _note_rate(self, at: ClockInstant) -> None:
        elapsed_ns, moved_ns = at.raw_ns - self._at.raw_ns, at.wall_minus_raw_ns - self._at.wall_minus_raw_ns
        rate = measured_rate(elapsed_ns, moved_ns)
        if is_slewing(rate) or (rate is None and abs(moved_ns) > _STEP_NS):
            self._goods = 0                       # what was good before it was moved says nothing of after
        if rate is not None or abs(moved_ns) > _STEP_NS:
            self.rate, self._at = rate, at

    def _has_converged(self) -> bool:
        is_settled = not self._was_bad or not self._names_updates or len(self._updates) >= _UPDATES
        return self._goods >= _GOODS and self.rate is not None and not is_slewing(self.rate) and is_settled

    def _at_the_end(self, check: ClockCheck) -> str:
        if check.verdict is not Verdict.BAD or is_slewing(self.rate) or self._has_fallen(check):
            return FOLLOWING
        return STUCK

    def _has_fallen(self, check: ClockCheck) -> bool:
        if self._first.offset_s is None or check.offset_s is None:
            return False
        doubt_s = (self._first.error_bound_s or 0.0) + (check.error_bound_s or 0.0)
        return abs(self._first.offset_s) - abs(check.offset_s) > doubt_s


# --- The remedy: the time daemon is made to measure again, once
# Runs in a thread of its own, for it takes seconds. What may be done to which daemon, `daemons` knows.

def measure_again(surroundings: HostAccess, may_step: Callable[[float], bool]) -> CommandResult:
    """Given the machine, make its time daemon measure again; return what was done, or why nothing was."""
    daemon: Daemon | None = find_daemon(surroundings)
    if daemon is None:
        return CommandResult(trouble="the remedy failed: no known time daemon")
    ended = daemon.measure_again(may_step)
    return CommandResult(trouble=f"the remedy failed: {ended.trouble}") if ended.trouble else ended


def agrees_with(truth_minus_raw: Interval, tolerance_ns: int, clocks: RawWallClocks) -> Callable[[float], bool]:
    """Given the outside time, return the question whether a daemon may step the clock by what it measured.

    It may while the clock is still outside the tolerance, and the step would bring it inside: the daemon sees what we
    see. After a further pause neither holds, and nothing is stepped.
    """
    def may_step(offset_s: float) -> bool:
        behind = truth_minus_raw.less(wall_minus_raw_ns(clocks))
        left_s = abs(ahead_s(behind.middle_ns) - offset_s)
        return compare(behind, tolerance_ns) is ToleranceResult.OUTSIDE and left_s * 1e9 <= tolerance_ns

    return may_step
