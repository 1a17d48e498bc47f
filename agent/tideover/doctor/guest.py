"""What shows a pause on this machine, and what keeps its time: which subjects there are is chosen here, once."""
from __future__ import annotations

import sys

from tideover.doctor.findings import Finding
from tideover.doctor.machine import Machine
from tideover.settings import Settings

if sys.platform == "win32":
    from tideover.doctor.windows import look_at_time_service, look_at_windows

    def look_around(settings: Settings, machine: Machine) -> tuple[list[Finding], list[Finding]]:
        """Given the settings and the machine, say what shows a pause, and who keeps the clock."""
        return look_at_windows(), look_at_time_service(settings, machine)

else:
    from tideover.doctor.signals import look_at_signals
    from tideover.doctor.time_daemon import look_at_time_daemon
    from tideover.pause.probe import probe

    def look_around(settings: Settings, machine: Machine) -> tuple[list[Finding], list[Finding]]:
        """Given the settings and the machine, say what shows a pause, and who keeps the clock."""
        seen = probe(machine.root)
        return look_at_signals(seen), look_at_time_daemon(settings, machine, seen.hypervisor)
