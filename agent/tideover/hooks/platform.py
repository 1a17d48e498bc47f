"""The parts of hooks that depend on the operating system, chosen here, once. Other modules of this package import
them from here.

Linux: `posix_process` and `posix_trust`. Windows: `windows_process` and `windows_trust`, which have the same functions;
where a thing does not exist there (other users' hooks, orphans that come to us), the function does nothing.
"""
from __future__ import annotations

import sys

if sys.platform == "win32":
    from tideover.hooks.windows_process import (
        HookProcess,
        end_runs,
        find_account,
        find_members,
        is_running,
        launch,
        read_process,
        reap_adopted,
        signal_name,
        standing_environment,
        why_not_started,
    )
    from tideover.hooks.windows_trust import (
        SHOWN_PATH,
        SUFFIXES,
        find_obstacle,
        has_run_bit,
        trusted_users,
        untrusted_component,
        why_untrusted,
    )
else:
    from tideover.hooks.posix_process import (
        HookProcess,
        end_runs,
        find_account,
        find_members,
        is_running,
        launch,
        read_process,
        reap_adopted,
        signal_name,
        standing_environment,
        why_not_started,
    )
    from tideover.hooks.posix_trust import (
        SHOWN_PATH,
        SUFFIXES,
        find_obstacle,
        has_run_bit,
        trusted_users,
        untrusted_component,
        why_untrusted,
    )

__all__ = [
    "SHOWN_PATH",
    "SUFFIXES",
    "HookProcess",
    "end_runs",
    "find_account",
    "find_members",
    "find_obstacle",
    "has_run_bit",
    "is_running",
    "launch",
    "read_process",
    "reap_adopted",
    "signal_name",
    "standing_environment",
    "trusted_users",
    "untrusted_component",
    "why_not_started",
    "why_untrusted",
]
