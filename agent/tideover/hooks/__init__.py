"""Hooks: the owner's programs that prepare and recover the applications.

`read_catalogue` says what lies in the directory, `HookRunner` runs one of them at a time each, `end_orphans` ends what
an agent that died has left running. The platform's own parts (Linux now) are `permission`, `account`, `process`,
`process_tree` and `children`; nothing else here knows the platform.
"""
from __future__ import annotations

from tideover.hooks.catalogue import LINUX_SUFFIXES, WINDOWS_SUFFIXES, Catalogue, HookSettings, read_catalogue
from tideover.hooks.orders import Graces
from tideover.hooks.orphans import EndedOrphan, end_orphans
from tideover.hooks.runner import HookRunner
from tideover.hooks.traces import OrphanTrace

__all__ = [
    "LINUX_SUFFIXES", "WINDOWS_SUFFIXES", "Catalogue", "EndedOrphan", "Graces", "HookRunner", "HookSettings",
    "OrphanTrace", "end_orphans", "read_catalogue",
]
