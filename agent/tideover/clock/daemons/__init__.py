"""Time daemons: which are known, and what each must tell: its servers, its state, how it is made to measure again.

One file for each daemon. What a daemon says of the clock is context: until its last measurement is newer than the
resume, every one of them reports a clock that is wrong by the whole pause as perfectly right.
"""
from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

from tideover.clock.host import HostAccess
from tideover.clock.types import CommandResult, DaemonReport, TimeSource

if sys.platform == "win32":
    from tideover.clock.daemons.w32time import W32Time
else:
    from tideover.clock.daemons.chrony import Chrony
    from tideover.clock.daemons.ntpd import Ntpd
    from tideover.clock.daemons.timesyncd import Timesyncd


class Daemon(Protocol):
    """One time daemon of this machine. None of these raises for what the world does."""

    @property
    def name(self) -> str:
        """Its name, for people."""

    def is_running(self) -> bool:
        """Whether it runs now."""

    def servers(self) -> tuple[TimeSource, ...]:
        """Return the servers it takes time from, hardware clocks apart. Blocks for some milliseconds as a rule."""

    def report(self) -> DaemonReport:
        """Return what it believes, with `updated_at` and no age yet. Blocks for some seconds at most."""

    def measure_again(self, may_step: Callable[[float], bool]) -> CommandResult:
        """Make it forget what it measured before the pause; return in words what was done, or why nothing was.

        `may_step`: given the correction it has measured since (positive: the clock is ahead), may it step the clock by
        that much now? Blocks for half a minute at most; the first trouble ends it.
        """


def known_daemons(surroundings: HostAccess) -> tuple[Daemon, ...]:
    """Given the machine, return every daemon of its system that we know, whether it is there or not."""
    if sys.platform == "win32":
        return (W32Time(surroundings),)
    else:  # noqa: RET505
        return Chrony(surroundings), Timesyncd(surroundings), Ntpd(surroundings)


def find_daemon(surroundings: HostAccess) -> Daemon | None:
    """Given the machine, return the time daemon that runs, else one that is configured, else None."""
    known = known_daemons(surroundings)
    running = next((one for one in known if one.is_running()), None)
    return running or next((one for one in known if one.servers()), None)


__all__ = ["Daemon", "find_daemon"]
