"""What this machine can show of a pause: its hypervisor, its clock, its push signals, and what follows from them."""
from __future__ import annotations

import sys

assert sys.platform != "win32"

from collections.abc import Iterator

from tideover.doctor.findings import Finding, good, note
from tideover.pause.probe import Capabilities

SLOW_CLOCKS = ("hpet", "acpi_pm", "refined-jiffies", "jiffies")
HYPERV_DAEMONS = "Install the Hyper-V daemons (Debian: hyperv-daemons, Ubuntu: linux-cloud-tools-virtual)."


def look_at_signals(found: Capabilities) -> list[Finding]:
    """Given what is here, say what shows a pause."""
    return [_hypervisor(found), *_clock(found), _push(found), *_missing(found)]


def _hypervisor(found: Capabilities) -> Finding:
    if not found.hypervisor:
        return note("hypervisor", "none is to be seen: real hardware, or it hides itself")
    where = " (Azure)" if found.is_azure else ""
    return good("hypervisor", f"{found.hypervisor}{where}")


def _clock(found: Capabilities) -> Iterator[Finding]:
    if not found.clocksource:
        yield note("clocksource", "the kernel does not say which clocksource it uses")
    elif found.clocksource in SLOW_CLOCKS:
        yield note("clocksource", f"{found.clocksource}, which every program that reads the time is slowed by; a long "
                                  "pause can make the kernel give up a faster one",
                   "Look for clocksource in the kernel's log; a restart brings the fast one back.")
    else:
        yield good("clocksource", found.clocksource)


def _push(found: Capabilities) -> Finding:
    interfaces = ", ".join(f"{one.name} ({one.driver})" if one.driver else one.name for one in found.interfaces)
    named = [("a clock that is set", found.hears_clock_set),
             (f"interfaces that announce themselves anew{f': {interfaces}' if interfaces else ''}",
              found.hears_interfaces),
             (f"vmclock ({found.vmclock})", found.vmclock not in ("", "not readable")),
             (f"the physical host's name ({found.host_name})", bool(found.host_name))]
    here = [name for name, is_here in named if is_here]
    return good("signals", "; ".join(here)) if here else note("signals", "no push signal: only the heartbeat and "
                                                                         "outside time show a pause here")


def _missing(found: Capabilities) -> Iterator[Finding]:
    if found.vmclock == "not readable":
        yield note("signals", "/dev/vmclock0 is here and this user may not read it: it would show each move to another "
                              "host", 'The agent reads it as root; for others a udev rule can: KERNEL=="vmclock0", '
                                      'MODE="0444"')
    if found.hypervisor == "hyperv" and found.host_name is None:
        yield note("signals", "no daemon keeps Hyper-V's key-value pools, so a change of the physical host is not seen",
                   HYPERV_DAEMONS)
    if found.hypervisor == "hyperv" and not any(name == "hyperv" for _, name in found.hardware_clocks):
        yield note("signals", "Hyper-V's clock is not here as a PTP device", "modprobe hv_utils")
    if not found.counts_switches:
        yield note("signals", "the kernel does not show how often it switches tasks, so a stopped machine cannot be "
                              "told from a stalled process", "Do not hide /proc/stat from this process.")
