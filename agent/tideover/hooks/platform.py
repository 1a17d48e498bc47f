"""What of hooks depends on the operating system, chosen here, once. The rest of this folder imports it from here alone.

Linux: `account`, `permission`, `process` with `supervisor`, `process_tree`. Windows: the files of these names in
`windows`, which have the same verbs; where a thing does not exist there (other users' hooks, orphans that come to us),
the verb does nothing. The values they share are in `launching` and `marks`; `bell` and `library_files` are one file
for both systems.
"""
from __future__ import annotations

import sys

if sys.platform == "win32":
    from tideover.hooks.windows.account import find_account
    from tideover.hooks.windows.permission import (
        SHOWN_PATH,
        SUFFIXES,
        find_obstacle,
        find_refusal,
        find_unsafe_step,
        has_run_bit,
        trusted_users,
    )
    from tideover.hooks.windows.process import HookProcess, launch, signal_name, standing_environment, why_not_started
    from tideover.hooks.windows.process_tree import end_runs, find_members, is_running, read_process, reap_adopted
else:
    from tideover.hooks.account import find_account
    from tideover.hooks.permission import (
        SHOWN_PATH,
        SUFFIXES,
        find_obstacle,
        find_refusal,
        find_unsafe_step,
        has_run_bit,
        trusted_users,
    )
    from tideover.hooks.process import HookProcess, launch, signal_name, standing_environment, why_not_started
    from tideover.hooks.process_tree import end_runs, find_members, is_running, read_process, reap_adopted

__all__ = [
    "SHOWN_PATH", "SUFFIXES", "HookProcess", "end_runs", "find_account", "find_members", "find_obstacle",
    "find_refusal", "find_unsafe_step", "has_run_bit", "is_running", "launch", "read_process", "reap_adopted",
    "signal_name", "standing_environment", "trusted_users", "why_not_started",
]
