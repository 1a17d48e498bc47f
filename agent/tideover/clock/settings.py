"""What the owner may choose about the clock check."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClockSettings:
    """The owner's [clock] table, as the configuration has validated it."""

    servers: tuple[str, ...] = ()        # "host", "host:port", "[v6]:port"; (): hardware clock and daemon's servers
    tolerance_s: float = 0.25
    deadline_s: float = 60.0
    remedy: str = "none"                 # none | daemon
