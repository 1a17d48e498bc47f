"""The pause watch: notices that this machine, or only this process, did not run, and says for how long and why."""
from __future__ import annotations

from tideover.pause.types import PauseWatchSettings
from tideover.pause.watch import PauseWatch
from tideover.system.clocks import Clocks, MachineClocks, read_boot_id

__all__ = ["Clocks", "MachineClocks", "PauseWatch", "PauseWatchSettings", "read_boot_id"]
# What only `tideover doctor` needs is in `guest_linux` and `clock`.
