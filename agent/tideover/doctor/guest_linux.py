"""Doctor's findings about a Linux guest: hypervisor, clocksource, push signals, and what follows for pause detection.

Everything is read from files under one root; what is missing or may not be read is absent, not an error.
"""
from __future__ import annotations

import sys

assert sys.platform != "win32"

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tideover.findings import Finding, good, remark
from tideover.pause.counters import CLOCKSOURCE, MachineCounters
from tideover.pause.hypervisor_signals import CLOCK_STATUS, DEVICE, POOL, read_page, read_records
from tideover.pause.kernel_signals import open_clock_set_reader, open_links_reader
from tideover.pause.types import HOST_KEYS
from tideover.system import ROOT

# --- Capabilities of this machine

# Vendor and product of the DMI tables, in lower case, by what they begin with.
VENDORS = (
    ("microsoft corporation", "hyperv"), ("xen", "xen"), ("vmware", "vmware"), ("qemu", "kvm"), ("amazon ec2", "kvm"),
    ("google", "kvm"), ("red hat", "kvm"), ("openstack", "kvm"), ("alibaba cloud", "kvm"), ("digitalocean", "kvm"),
    ("innotek", "virtualbox"), ("parallels", "parallels"), ("apple", "apple"),
)
# A clocksource that only such a guest has.
GUEST_CLOCKSOURCES = (("kvm-clock", "kvm"), ("hyperv_clocksource", "hyperv"), ("xen", "xen"))

# ACPI ids of a VM generation ID device (Microsoft's specification; linux drivers/virt/vmgenid.c).


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """One network interface with hardware behind it. `under`: the one that uses it as its fast path (a VF's)."""

    name: str
    driver: str
    under: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What is here. Empty, None or False: not here, or it may not be read."""

    hypervisor: str                                  # kvm, hyperv, xen, vmware …; "unknown"; "" = none to be seen
    clocksource: str
    clocksources: tuple[str, ...]
    hardware_clocks: tuple[tuple[str, str], ...]     # device, name: "KVM virtual PTP", "hyperv" …
    vmclock: str                                     # "", "not readable", or what it says
    interfaces: tuple[NetworkInterface, ...]
    host_name: str | None                            # of the physical host; None: no pool, "": a pool without it
    hears_clock_set: bool
    hears_interfaces: bool
    counts_switches: bool                            # can tell a stopped machine from a stalled process


def probe(root: Path = ROOT) -> Capabilities:
    """Given the root of the file system, return what is here."""
    available = tuple(_word(root / CLOCKSOURCE.replace("current_", "available_")).split())
    return Capabilities(
        hypervisor=_hypervisor(root, available),
        clocksource=_word(root / CLOCKSOURCE), clocksources=available,
        hardware_clocks=tuple((clock.name, _word(clock / "clock_name")) for clock in _entries(root / "sys/class/ptp")),
        vmclock=_vmclock(root), interfaces=tuple(_interfaces(root)),
        host_name=_host_name(root / POOL),
        hears_clock_set=_opens(open_clock_set_reader()), hears_interfaces=_opens(open_links_reader(root)),
        counts_switches=_counts_switches(root))


def _hypervisor(root: Path, clocksources: tuple[str, ...]) -> str:
    kind = _word(root / "sys/hypervisor/type")
    if kind:
        return kind
    vendor = _word(root / "sys/class/dmi/id/sys_vendor").lower()
    product = _word(root / "sys/class/dmi/id/product_name").lower()
    for begins, name in VENDORS:
        # Microsoft, Google and Red Hat also make machines that are none.
        if vendor.startswith(begins) and (name != "hyperv" or product == "virtual machine"):
            return name
    if (root / "sys/bus/vmbus").is_dir():
        return "hyperv"
    for begins, name in GUEST_CLOCKSOURCES:
        if any(source.startswith(begins) for source in clocksources):
            return name
    flags = _word(root / "proc/cpuinfo").partition("\nflags")[2].partition("\n")[0]
    return "unknown" if "hypervisor" in flags.split() else ""


def _vmclock(root: Path) -> str:
    if not (root / DEVICE).exists():
        return ""
    page = read_page(root / DEVICE)
    if page is None:
        return "not readable"
    notifies = "notifies" if page.can_notify else "must be read"
    return f"marker {page.marker}, {notifies}, clock {CLOCK_STATUS.get(page.status, 'unknown')}"


def _interfaces(root: Path) -> Iterator[NetworkInterface]:
    for entry in _entries(root / "sys/class/net"):
        if (entry / "device").exists():
            under = (entry / "master").resolve().name if (entry / "master").is_symlink() else ""
            driver = (entry / "device/driver").resolve().name if (entry / "device/driver").is_symlink() else ""
            yield NetworkInterface(entry.name, driver, under)


def _host_name(pool: Path) -> str | None:
    if not pool.exists():
        return None
    records = read_records(pool) or {}
    return next((records[key] for key in HOST_KEYS if records.get(key)), "")


def _counts_switches(root: Path) -> bool:
    counters = MachineCounters(root)
    read = counters.read()
    counters.close()
    return read.switches is not None and read.own_switches is not None


def _opens(reader: object) -> bool:
    close = getattr(reader, "close", None)
    if close is not None:
        close()
    return close is not None


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _word(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


# --- Checks

SLOW_CLOCKS = ("hpet", "acpi_pm", "refined-jiffies", "jiffies")
HYPERV_DAEMONS = "Install the Hyper-V daemons (Debian: hyperv-daemons, Ubuntu: linux-cloud-tools-virtual)."


def check_pause_signals(found: Capabilities) -> list[Finding]:
    """Given what is here, say what shows a pause."""
    return [_check_hypervisor(found), *_check_clocksource(found), _check_push_signals(found), *_missing_signals(found)]


def _check_hypervisor(found: Capabilities) -> Finding:
    if not found.hypervisor:
        return remark("hypervisor", "none detected: real hardware, or a hypervisor that hides itself")
    return good("hypervisor", found.hypervisor)


def _check_clocksource(found: Capabilities) -> Iterator[Finding]:
    if not found.clocksource:
        yield remark("clocksource", "the kernel does not report its clocksource")
    elif found.clocksource in SLOW_CLOCKS:
        yield remark("clocksource", f"{found.clocksource}, which every program that reads the time is slowed by; a "
                                    f"long "
                                  "pause can make the kernel give up a faster one",
                   "Look for clocksource in the kernel's log; a restart brings the fast one back.")
    else:
        yield good("clocksource", found.clocksource)


def _check_push_signals(found: Capabilities) -> Finding:
    interfaces = ", ".join(f"{one.name} ({one.driver})" if one.driver else one.name for one in found.interfaces)
    named = [("steps of the clock", found.hears_clock_set),
             (f"network announcements after a resume{f': {interfaces}' if interfaces else ''}",
              found.hears_interfaces),
             (f"vmclock ({found.vmclock})", found.vmclock not in ("", "not readable")),
             (f"the physical host's name ({found.host_name})", bool(found.host_name))]
    here = [name for name, is_here in named if is_here]
    return good("signals", "; ".join(here)) if here else remark("signals", "no push signal: only the heartbeat and "
                                                                           "time servers show a pause on this machine")


def _missing_signals(found: Capabilities) -> Iterator[Finding]:
    if found.vmclock == "not readable":
        yield remark("signals", "/dev/vmclock0 exists but this user cannot read it: it shows each move to another "
                                "host", 'The agent reads it as root; for others a udev rule can: KERNEL=="vmclock0", '
                                      'MODE="0444"')
    if found.hypervisor == "hyperv" and found.host_name is None:
        yield remark("signals", "no daemon keeps Hyper-V's key-value pools, so a change of the physical host is not "
                                "detected",
                   HYPERV_DAEMONS)
    if found.hypervisor == "hyperv" and not any(name == "hyperv" for _, name in found.hardware_clocks):
        yield remark("signals", "Hyper-V's clock is not available as a PTP device", "modprobe hv_utils")
    if not found.counts_switches:
        yield remark("signals", "the kernel does not show how often it switches tasks, so a pause of the machine "
                                "cannot be distinguished from a stall of the process",
                     "Do not hide /proc/stat from this process.")
