"""What the owner may choose about the pause watch."""
from __future__ import annotations

from dataclasses import dataclass

from tideover.timekeeping.gaps import NS


@dataclass(frozen=True, slots=True)
class PauseSettings:
    """Given tick and threshold in seconds: how often the clocks are read, calm and close, and what is worth telling."""

    tick_s: float = 0.25
    close_tick_s: float = 0.05
    threshold_s: float = 0.5

    @property
    def tick_ns(self) -> int:
        return int(self.tick_s * NS)

    @property
    def close_tick_ns(self) -> int:
        return int(self.close_tick_s * NS)

    @property
    def threshold_ns(self) -> int:
        return int(self.threshold_s * NS)
