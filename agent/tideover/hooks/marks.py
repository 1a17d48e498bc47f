"""By what a process is known, and all the processes of one run. Values; `process_tree` looks for who bears them."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for good: numbers are used again, a number with its start is not.

    `start_ticks`: Linux, clock ticks since boot (proc(5), starttime); Windows, 100 ns since 1601.
    """

    pid: int
    start_ticks: int

    def is_older_than(self, other: Identity) -> bool:
        """Return whether it was started first. Linux gives numbers out upwards, which orders those of one tick."""
        return (self.start_ticks, self.pid) < (other.start_ticks, other.pid)


@dataclass(frozen=True, slots=True)
class RunMarks:
    """By what the processes of one run are known. On Windows its job's name follows from `environment`; of the rest
    only the leader is a clue there."""

    environment: frozenset[bytes]           # entries that it has, all of them (environ(7))
    leader: Identity | None = None          # the hook's own process; None: not known
    channels: frozenset[str] = frozenset()  # what its standard input and output are, as /proc/PID/fd shows them
    supervisor: Identity | None = None      # the parent of it and of what it detached; None: not known, or none
    group: str = ""                         # the run's control group (cgroups(7)); '': none
