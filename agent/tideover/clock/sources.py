"""The hypervisor's own clocks inside this machine: PTP devices, found by what they are called, never by number.

Reads them; never sets one. KVM's shows the host's clock at every read; Hyper-V's only as of the host's last message.
"""
from __future__ import annotations

from pathlib import Path

from tideover.clock.nouns import Origin, Source
from tideover.clock.readings import Clocks, wall_minus_raw_ns
from tideover.clock.surroundings import Surroundings
from tideover.timekeeping.agreement import NS, Sample, drift_ns
from tideover.timekeeping.host_time import Reading, is_fresh
from tideover.timekeeping.ntp import LOCAL_PRECISION_NS, Fault, Refused

# /sys/class/ptp/*/clock_name as the drivers set it (ptp_kvm_common.c, hv_util.c). Others are no clocks of a host, or
# keep TAI.
_NAMES = {"KVM virtual PTP": "ptp_kvm", "hyperv": "ptp_hyperv"}
_LIVES_ON_MESSAGES = "ptp_hyperv"
_CLASS = "/sys/class/ptp"
_TRIES = 5                       # the narrowest of so many windows
_HOST_ERROR_NS = NS // 1000      # how wrong the host itself may be, unless somebody knows better
_MOST_READINGS = 64


def find_hardware(surroundings: Surroundings) -> tuple[Source, ...]:
    """Given the machine, return its hypervisor's clocks."""
    try:
        devices = sorted(surroundings.path(_CLASS).iterdir())
    except OSError:
        return ()
    named = [(_NAMES.get(_read(device / "clock_name")), surroundings.path(f"/dev/{device.name}")) for device in devices]
    return tuple(Source(name, Origin.HARDWARE, str(device)) for name, device in named if name)


class Hardware:
    """Reads hardware clocks, and remembers Hyper-V's readings to know when the host has spoken again."""

    def __init__(self, clocks: Clocks, surroundings: Surroundings) -> None:
        self._clocks, self._surroundings = clocks, surroundings
        self._readings: dict[str, list[Reading]] = {}

    def ask(self, source: Source, since_ns: int) -> Sample | Refused:
        """Given a hardware clock and the resume, return what it says, or why that does not count."""
        try:
            began_ns, reading = self._read(source.device)
        except OSError as error:
            return Refused(source.server, source.device, Fault.UNREACHABLE, error.strerror or str(error))
        if source.server == _LIVES_ON_MESSAGES:
            known = self._readings.setdefault(source.device, [])
            known.append(reading)
            del known[:-_MOST_READINGS]
            if not is_fresh(known, since_ns):
                return Refused(source.server, source.device, Fault.STALE)
        ended_ns = reading.raw_ns + reading.width_ns
        bound_ns = reading.width_ns + _HOST_ERROR_NS + LOCAL_PRECISION_NS + drift_ns(ended_ns - began_ns)
        return Sample(source.server, source.device, reading.distance_ns, wall_minus_raw_ns(self._clocks),
                      2 * reading.width_ns, bound_ns, began_ns, ended_ns)

    def _read(self, device: str) -> tuple[int, Reading]:
        """Return when the narrowest window began, and the clock's distance from raw in its middle."""
        best: tuple[int, Reading] | None = None
        for _ in range(_TRIES):
            before = self._clocks.raw_ns()
            shown = self._surroundings.read_device_ns(device)
            after = self._clocks.raw_ns()
            middle, width = (before + after) // 2, (after - before + 1) // 2
            if best is None or width < best[1].width_ns:
                best = before, Reading(middle, shown - middle, width)
        assert best is not None
        return best


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
