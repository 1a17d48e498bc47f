"""The pause watch: notices that this machine, or only this process, did not run, and says for how long and why."""
from __future__ import annotations

from tideover.pause.clocks import Clocks, MachineClocks, read_boot_id
from tideover.pause.settings import PauseSettings
from tideover.pause.watch import PauseWatch

__all__ = ["Clocks", "MachineClocks", "PauseSettings", "PauseWatch", "read_boot_id"]
# What only `tideover doctor` needs is in `probe` and `promise`.
