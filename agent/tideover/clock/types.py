"""The values this hand takes and gives: its settings, where time may come from, what one check found."""
from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from tideover.clock.settings import ClockSettings
from tideover.model import ClockCheck

__all__ = ["ClockReport", "ClockSettings", "DaemonReport", "Origin", "ServerReport", "Source"]


class Origin(enum.Enum):
    """Who named a source. The more of a stranger we are to it, the rarer we ask."""

    OWNER = "the owner's settings"
    HARDWARE = "the hypervisor"
    DAEMON = "the time daemon"
    POOL = "a public pool of the time daemon"
    PLATFORM = "the cloud platform"


@dataclass(frozen=True, slots=True)
class Source:
    """One source of outside time: a server as its namer wrote it, or a hardware clock with its device."""

    server: str
    origin: Origin = Origin.OWNER
    device: str = ""


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
    origin: str = ""                     # who named the source, in words


@dataclass(frozen=True, slots=True)
class DaemonReport:
    """What this machine's time daemon believes. Context, never proof: it may not have measured since the pause.

    offset_s > 0: it believes this machine ahead. None: it does not say. `note`: why it says nothing, or what its word
    is worth ("older than the pause").
    """

    name: str
    is_synchronised: bool | None = None
    offset_s: float | None = None
    bound_s: float | None = None
    updated_at: datetime | None = None   # its last measurement, by this machine's wall clock
    last_update_age_s: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ClockReport:
    """One check with all that led to it."""

    check: ClockCheck
    servers: tuple[ServerReport, ...]
    origin: str = ""                     # where the sources came from, in words
    daemon: DaemonReport | None = None   # its own opinion beside ours
