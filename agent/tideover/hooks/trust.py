"""Whom a hook runs as and who may change what runs, on this operating system: chosen here, once. Other modules import
these from here.

Linux: `posix_trust`. Windows: `windows_trust`, which has the same functions. Apart from `platform`: a reader of the
hooks directory starts no process.
"""
from __future__ import annotations

import sys

if sys.platform == "win32":
    from tideover.hooks.windows_trust import (
        SHOWN_PATH,
        SUFFIXES,
        find_account,
        find_obstacle,
        has_run_bit,
        standing_environment,
        trusted_users,
        untrusted_component,
        why_untrusted,
    )
else:
    from tideover.hooks.posix_trust import (
        SHOWN_PATH,
        SUFFIXES,
        find_account,
        find_obstacle,
        has_run_bit,
        standing_environment,
        trusted_users,
        untrusted_component,
        why_untrusted,
    )

__all__ = [
    "SHOWN_PATH",
    "SUFFIXES",
    "find_account",
    "find_obstacle",
    "has_run_bit",
    "standing_environment",
    "trusted_users",
    "untrusted_component",
    "why_untrusted",
]
