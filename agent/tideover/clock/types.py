"""Values of the clock check: its settings, time sources, reports, the result of a command."""
from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tideover.model import ClockCheck
from tideover.timekeeping.ntp_packet import PORT

if TYPE_CHECKING:
    from tideover.settings import Settings


DEADLINE_S = 5.0
MOST_BYTES = 8192


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How one run ended. `trouble`: why, for people; "" when the program reported success."""

    output: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class ClockCheckSettings:
    """[clock] as a check takes it: servers by the text that names them in samples and reports, and without on_deadline,
    which is the policy's. So a check can be made without a configuration."""

    servers: tuple[str, ...] = ()        # "host", "host:port", "[v6]:port"; (): hardware clock and daemon's servers
    tolerance_s: float = 0.25
    deadline_s: float = 60.0
    remedy: str = "none"                 # none | daemon

    @classmethod
    def of(cls, settings: Settings) -> ClockCheckSettings:
        """Given the configuration, return what the clock check needs of them."""
        chosen = settings.clock
        servers = tuple(server.text for server in chosen.servers)
        return cls(servers, chosen.tolerance_s, chosen.deadline_s, chosen.remedy)


class Origin(enum.Enum):
    """Where a source's name comes from. It decides how often it may be asked."""

    OWNER = "the configuration"
    HARDWARE = "the hypervisor"
    DAEMON = "the time daemon"
    POOL = "a public pool of the time daemon"
    PLATFORM = "the cloud platform"


@dataclass(frozen=True, slots=True)
class TimeSource:
    """One source of outside time: a server as its namer wrote it, or a hardware clock with its device."""

    server: str
    origin: Origin = Origin.OWNER
    device: str = ""


_POOL_ZONES = ("ntp.ubuntu.com",)      # a public pool whose name does not say so


def daemon_server(host: str, port: int = PORT, is_pool: bool = False) -> TimeSource:
    """Given a daemon's server as its configuration names it, return the source we make of it."""
    text = host if port == PORT else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return TimeSource(text, Origin.POOL if is_pool or is_pool_name(host) else Origin.DAEMON)


def is_pool_name(host: str) -> bool:
    """Is this a name of pool.ntp.org, one of its vendor zones, or something that calls itself a pool?"""
    name = host.lower().rstrip(".")
    return "pool" in name.split(".") or name in _POOL_ZONES


def each_once(sources: Iterable[TimeSource]) -> tuple[TimeSource, ...]:
    """Given sources in order, return them without repetitions; a name that is a pool anywhere is one."""
    found: dict[str, TimeSource] = {}
    for source in sources:
        if source.server not in found or source.origin is Origin.POOL:
            found[source.server] = source
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class ServerReport:
    """The answer of one address of one source, or why it is not used. offset_s > 0: this machine is ahead."""

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
