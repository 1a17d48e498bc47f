"""The time daemon told to measure afresh, when the clock is bad and the owner asked for it. Does it once, and says so.

Runs in a thread of its own, for it takes seconds. What may be done to which daemon, `daemons` knows.
"""
from __future__ import annotations

from collections.abc import Callable

from tideover.clock.daemons import Daemon, find_daemon
from tideover.clock.ended import Ended
from tideover.clock.readings import Clocks, wall_minus_raw_ns
from tideover.clock.surroundings import Surroundings
from tideover.timekeeping.agreement import Interval, Ruling, ahead_s, rule


def measure_afresh(surroundings: Surroundings, may_step: Callable[[float], bool]) -> Ended:
    """Given the machine, tell its time daemon to measure afresh; return what was done, or why nothing was."""
    daemon: Daemon | None = find_daemon(surroundings)
    if daemon is None:
        return Ended(trouble="the remedy failed: no time daemon that we know is here")
    ended = daemon.measure_afresh(may_step)
    return Ended(trouble=f"the remedy failed: {ended.trouble}") if ended.trouble else ended


def agrees_with(truth_minus_raw: Interval, tolerance_ns: int, clocks: Clocks) -> Callable[[float], bool]:
    """Given what outside time said, return the question whether a daemon may step the clock by what it measured.

    It may while the clock is still outside the tolerance, and the step would bring it inside: the daemon sees what we
    see. After a further pause neither holds, and nothing is stepped.
    """
    def may_step(offset_s: float) -> bool:
        behind = truth_minus_raw.less(wall_minus_raw_ns(clocks))
        left_s = abs(ahead_s(behind.middle_ns) - offset_s)
        return rule(behind, tolerance_ns) is Ruling.OUTSIDE and left_s * 1e9 <= tolerance_ns

    return may_step
