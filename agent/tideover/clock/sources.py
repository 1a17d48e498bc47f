"""Which time sources this machine has, in their order of preference; hypervisor clocks (PTP devices).

Asks no server.

Reads them; never sets one. KVM's shows the host's clock at every read; Hyper-V's only as of the host's last message.
"""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tideover.clock.daemons import Daemon
from tideover.clock.host import HostAccess
from tideover.clock.types import ClockCheckSettings, Origin, TimeSource
from tideover.errors import system_reason
from tideover.platforms import detect
from tideover.system.clocks import RawWallClocks, wall_minus_raw_ns
from tideover.system.dmi import read_dmi
from tideover.timekeeping.intervals import NS, HypervisorReading, TimeSample, drift_ns, is_fresh
from tideover.timekeeping.ntp_packet import LOCAL_PRECISION_NS, Rejected, RejectReason

# --- Hypervisor clocks: PTP devices, found by their clock name, never by number

# /sys/class/ptp/*/clock_name as the drivers set it (ptp_kvm_common.c, hv_util.c). Others are no clocks of a host, or
# keep TAI.
_NAMES = {"KVM virtual PTP": "ptp_kvm", "hyperv": "ptp_hyperv"}
_LIVES_ON_MESSAGES = "ptp_hyperv"
_CLASS = "/sys/class/ptp"
_TRIES = 5                       # the narrowest of so many windows
_HOST_ERROR_NS = NS // 1000      # how wrong the host itself may be, unless the configuration knows better
_MOST_READINGS = 64


def find_hardware(surroundings: HostAccess) -> tuple[TimeSource, ...]:
    """Given the machine, return its hypervisor's clocks."""
    try:
        devices = sorted(surroundings.path(_CLASS).iterdir())
    except OSError:
        return ()
    named = [(_NAMES.get(_read(device / "clock_name")), surroundings.path(f"/dev/{device.name}")) for device in devices]
    return tuple(TimeSource(name, Origin.HARDWARE, str(device)) for name, device in named if name)


class HypervisorClock:
    """Reads hardware clocks, and remembers Hyper-V's readings to know when the host has spoken again."""

    def __init__(self, clocks: RawWallClocks, surroundings: HostAccess) -> None:
        self._clocks, self._surroundings = clocks, surroundings
        self._readings: dict[str, list[HypervisorReading]] = {}

    def ask(self, source: TimeSource, since_ns: int) -> TimeSample | Rejected:
        """Given a hardware clock and the resume, return what it says, or why that does not count."""
        try:
            began_ns, reading = self._read(source.device)
        except OSError as error:
            return Rejected(source.server, source.device, RejectReason.UNREACHABLE, system_reason(error))
        if source.server == _LIVES_ON_MESSAGES:
            known = self._readings.setdefault(source.device, [])
            known.append(reading)
            del known[:-_MOST_READINGS]
            if not is_fresh(known, since_ns):
                return Rejected(source.server, source.device, RejectReason.STALE)
        ended_ns = reading.raw_ns + reading.width_ns
        bound_ns = reading.width_ns + _HOST_ERROR_NS + LOCAL_PRECISION_NS + drift_ns(ended_ns - began_ns)
        return TimeSample(source.server, source.device, reading.distance_ns, wall_minus_raw_ns(self._clocks),
                      2 * reading.width_ns, bound_ns, began_ns, ended_ns)

    def _read(self, device: str) -> tuple[int, HypervisorReading]:
        """Return when the narrowest window began, and the clock's distance from raw in its middle."""
        best: tuple[int, HypervisorReading] | None = None
        for _ in range(_TRIES):
            before = self._clocks.raw_ns()
            shown = self._surroundings.read_device_ns(device)
            after = self._clocks.raw_ns()
            middle, width = (before + after) // 2, (after - before + 1) // 2
            if best is None or width < best[1].width_ns:
                best = before, HypervisorReading(middle, shown - middle, width)
        assert best is not None
        return best


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


# --- Sources
# The owner's servers, else the hypervisor's clock together with the time daemon's servers, else what the cloud platform
# offers inside itself. Never a server of our own choice.

def find_sources(settings: ClockCheckSettings, surroundings: HostAccess, daemon: Daemon | None) -> tuple[TimeSource,
                                                                                                         ...]:
    """Given the configuration, the machine and its time daemon, return the sources; none if there are none."""
    if settings.servers:
        return tuple(TimeSource(server, Origin.OWNER) for server in settings.servers)
    return (*find_hardware(surroundings), *(daemon.servers() if daemon else ())) or _platform(surroundings)


def origin_text(sources: Sequence[TimeSource], daemon: Daemon | None) -> str:
    """Given the sources, return in words where they came from."""
    origins = dict.fromkeys(one.origin for one in sources)
    words = [one.value for one in origins if one not in (Origin.DAEMON, Origin.POOL)]
    if len(words) < len(origins) and daemon:
        words.append(f"{Origin.DAEMON.value}'s servers ({daemon.name})")
    return " and ".join(words)


def _platform(surroundings: HostAccess) -> tuple[TimeSource, ...]:
    server = detect(read_dmi(surroundings.root)).time_server
    return (TimeSource(server, Origin.PLATFORM),) if server else ()
