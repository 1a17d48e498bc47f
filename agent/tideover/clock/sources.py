"""Where time may come from on this machine, in the contract's order. Looks at files and devices; asks no time server.

The owner's servers, else the hypervisor's clock together with the time daemon's servers, else what the cloud platform
offers inside itself. Never a server of our own choice.
"""
from __future__ import annotations

from collections.abc import Sequence

from tideover.clock.daemons import Daemon
from tideover.clock.hardware import find_hardware
from tideover.clock.nouns import ClockSettings, Origin, Source
from tideover.clock.surroundings import Surroundings

# sys_vendor of the DMI tables · the time server inside the platform (Amazon EC2 and Google Compute Engine user guides)
_PLATFORMS = {"Amazon EC2": "169.254.169.123", "Google": "metadata.google.internal"}


def find_sources(settings: ClockSettings, surroundings: Surroundings, daemon: Daemon | None) -> tuple[Source, ...]:
    """Given the owner's settings, the machine and its time daemon, return the sources; none if there are none."""
    if settings.servers:
        return tuple(Source(server, Origin.OWNER) for server in settings.servers)
    return (*find_hardware(surroundings), *(daemon.servers() if daemon else ())) or _platform(surroundings)


def origin_text(sources: Sequence[Source], daemon: Daemon | None) -> str:
    """Given the sources, return in words where they came from."""
    origins = dict.fromkeys(one.origin for one in sources)
    words = [one.value for one in origins if one not in (Origin.DAEMON, Origin.POOL)]
    if len(words) < len(origins) and daemon:
        words.append(f"{Origin.DAEMON.value}'s servers ({daemon.name})")
    return " and ".join(words)


def _platform(surroundings: Surroundings) -> tuple[Source, ...]:
    try:
        vendor = surroundings.path("/sys/class/dmi/id/sys_vendor").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ()
    server = _PLATFORMS.get(vendor.strip())
    return (Source(server, Origin.PLATFORM),) if server else ()
