"""What the owner may choose about the clock check."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tideover.settings import Settings


@dataclass(frozen=True, slots=True)
class ClockSettings:
    """The owner's [clock] table, as the configuration has validated it."""

    servers: tuple[str, ...] = ()        # "host", "host:port", "[v6]:port"; (): hardware clock and daemon's servers
    tolerance_s: float = 0.25
    deadline_s: float = 60.0
    remedy: str = "none"                 # none | daemon

    @classmethod
    def of(cls, settings: Settings) -> ClockSettings:
        """Given the owner's settings, return what the clock check needs of them."""
        chosen = settings.clock
        servers = tuple(server.text for server in chosen.servers)
        return cls(servers, chosen.tolerance_s, chosen.deadline_s, chosen.remedy)
