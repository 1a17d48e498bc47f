"""Hooks: the owner's programs that prepare and recover the applications.

`read_catalogue` says what lies in the directory, `HookRunner` runs one of them at a time each, `end_orphans` ends what
an agent that died has left running. What differs between Linux and Windows is chosen in `parts`; nothing else here
knows the system.
"""
from __future__ import annotations

from tideover.hooks.catalogue import Catalogue, HookSettings, read_catalogue
from tideover.hooks.orders import Graces
from tideover.hooks.orphans import EndedOrphan, end_orphans
from tideover.hooks.runner import HookRunner
from tideover.hooks.traces import OrphanTrace

__all__ = [
    "Catalogue", "EndedOrphan", "Graces", "HookRunner", "HookSettings",
    "OrphanTrace", "end_orphans", "read_catalogue",
]
