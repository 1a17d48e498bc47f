"""Hooks: the owner's programs that prepare and recover the applications.

`read_catalogue` says what lies in the directory, `HookRunner` runs one of them at a time each, `end_orphans` ends what
an agent that died has left running. What differs between Linux and Windows is chosen in `platform`; nothing else here
knows the system.
"""
from __future__ import annotations

from tideover.hooks.directory import Catalogue, HookSettings, read_catalogue
from tideover.hooks.orphans import EndedOrphan, OrphanRun, end_orphans
from tideover.hooks.runner import GracePeriods, HookRunner

__all__ = [
    "Catalogue", "EndedOrphan", "GracePeriods", "HookRunner", "HookSettings",
    "OrphanRun", "end_orphans", "read_catalogue",
]
