"""Time as the agent lived through it. Pure arithmetic on readings of a raw monotonic clock; waits for nothing.

A deadline which a pause of the machine, or a stop of the agent, crosses must not fall due at the resume: the hook did
not have that time. What one wait lasted longer than it was asked to is therefore counted only up to a small allowance.
"""
from __future__ import annotations

SLICE_S = 0.25          # the longest single wait, so the most that is counted wrongly is one slice and its allowance
ALLOWANCE_S = 0.1       # a busy machine wakes us late; beyond that we did not run


class LivedTime:
    """Counts down `limit_s` from the reading `now_s`."""

    def __init__(self, limit_s: float, now_s: float) -> None:
        self._limit_s, self._left_s = limit_s, limit_s
        self._begun_s = self._last_s = now_s

    def limit(self, limit_s: float) -> None:
        """Given what the limit is by now, as time that passed since the beginning whether it was lived or not: it is
        counted down from here, where that is shorter than what is left."""
        if limit_s < self._limit_s:
            self._limit_s = limit_s
            self._left_s = min(self._left_s, limit_s - (self._last_s - self._begun_s))

    def next_wait_s(self) -> float:
        """Return how long to wait before counting again, in seconds."""
        return max(0.0, min(SLICE_S, self._left_s))

    def count(self, now_s: float) -> None:
        """Given the reading after a wait of at most next_wait_s(), take what was lived from what is left."""
        self._left_s -= min(now_s - self._last_s, self.next_wait_s() + ALLOWANCE_S)
        self._last_s = now_s

    def is_over(self) -> bool:
        return self._left_s <= 0.0
