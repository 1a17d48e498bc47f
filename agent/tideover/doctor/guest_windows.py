"""Doctor's findings about a Windows guest: hypervisor, clocks, pause signals, the time service."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

from collections.abc import Iterator

from tideover.clock.daemons.w32time import W32Time
from tideover.doctor.machine import Machine
from tideover.findings import Finding, good, remark
from tideover.pause.types import HOST_KEYS
from tideover.pause.watch import GUEST_PARAMETERS
from tideover.settings import Settings
from tideover.system.dmi import fields_in, firmware_table
from tideover.winapi.base import read_text
from tideover.winapi.clocks import has_precise_interrupt_time, read_context_switches

REMEDY = 'Or set [clock] remedy = "daemon": tideover then makes it measure again after a pause.'


def check_windows() -> list[Finding]:
    """Return what shows a pause here."""
    return [_hardware(), _clocks(), *_signals()]


def check_time_service(settings: Settings, machine: Machine) -> list[Finding]:
    """Given the settings and the machine, say what Windows' time service is set to."""
    service = W32Time(machine.surroundings)
    if not service.is_enabled():
        return [remark("time daemon", "Windows' time service is switched off: only the host corrects the clock after "
                                      "a pause, if it does", "Set-Service w32time -StartupType Automatic")]
    servers = ", ".join(source.server for source in service.servers())
    text = f"w32time asks {servers}" if servers else f"w32time {service.report().note}"
    if not service.is_running():
        text += " (it is stopped now; Windows starts it as needed)"
    if settings.clock.remedy == "daemon":
        return [good("time daemon",
                     f'{text}, and [clock] remedy = "daemon" makes it measure again after a pause')]
    return [remark("time daemon", f"{text}, every 17 to 1024 minutes by default: after a pause that stopped the clock "
                                  "it stays wrong until then, unless the host sets it",
                 f"Lower SpecialPollInterval, or enable the host's time service. {REMEDY}")]


def _hardware() -> Finding:
    found = fields_in(firmware_table())
    words = " ".join(word for word in (found.get("sys_vendor"), found.get("product_name")) if word)
    return good("hypervisor", words) if words else remark("hypervisor", "the firmware does not identify this machine")


def _clocks() -> Finding:
    if has_precise_interrupt_time():
        return good("clocksource", "exact interrupt time, with sleep and without")
    return remark("clocksource", "the performance counter alone: a sleep shows as a pause, not as a sleep",
                "Windows 10 and Server 2016 have exact interrupt times.")


def _signals() -> Iterator[Finding]:
    host = next((name for key in HOST_KEYS if (name := read_text(GUEST_PARAMETERS, key))), "")
    yield (good("signals", f"the physical host's name ({host})") if host else
           remark("signals", "Hyper-V's guest service keeps no name of the physical host in the registry, so a change "
                             "of it is not detected"))
    if read_context_switches() is None:
        yield remark("signals", "this system does not show how often it switches tasks, so a pause of the machine "
                                "cannot be distinguished from a stall of the process")
