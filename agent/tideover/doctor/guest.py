"""The checks of the guest that this operating system has."""
from __future__ import annotations

import sys

from tideover.doctor.machine import Machine
from tideover.findings import Finding
from tideover.settings import Settings

if sys.platform == "win32":
    from tideover.doctor.guest_windows import check_time_service, check_windows

    def check_guest(settings: Settings, machine: Machine) -> tuple[list[Finding], list[Finding]]:
        """Given the settings and the machine, say what shows a pause, and who keeps the clock."""
        return check_windows(), check_time_service(settings, machine)

else:
    from tideover.doctor.guest_linux import check_pause_signals, probe
    from tideover.doctor.time_daemons import check_time_daemon

    def check_guest(settings: Settings, machine: Machine) -> tuple[list[Finding], list[Finding]]:
        """Given the settings and the machine, say what shows a pause, and who keeps the clock."""
        seen = probe(machine.root)
        return check_pause_signals(seen), check_time_daemon(settings, machine, seen.hypervisor)
