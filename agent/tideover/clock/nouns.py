"""The values this hand takes and gives: its settings, where time may come from, what one check found."""
from __future__ import annotations

import enum
from dataclasses import dataclass

from tideover.model import ClockCheck


@dataclass(frozen=True, slots=True)
class ClockSettings:
    """The owner's [clock] table."""

    servers: tuple[str, ...] = ()        # "host", "host:port", "[v6]:port"
    tolerance_s: float = 0.25
    deadline_s: float = 60.0
    remedy: str = "none"                 # none | daemon


class Origin(enum.Enum):
    """Who named a source. The more of a stranger we are to it, the rarer we ask."""

    OWNER = "the owner's settings"
    HARDWARE = "the hypervisor"
    DAEMON = "the time daemon's settings"
    POOL = "a public pool of the time daemon's settings"
    PLATFORM = "the cloud platform"


@dataclass(frozen=True, slots=True)
class Source:
    """One source of outside time: a server as its namer wrote it, or a hardware clock's device."""

    server: str
    origin: Origin = Origin.OWNER


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What one address of one source said, or why its word does not count. offset_s > 0: this machine is ahead."""

    server: str
    address: str
    offset_s: float | None = None
    delay_s: float | None = None
    bound_s: float | None = None
    stratum: int | None = None
    dropped: str = ""


@dataclass(frozen=True, slots=True)
class ClockReport:
    """One check with all that led to it."""

    check: ClockCheck
    servers: tuple[ServerReport, ...]
