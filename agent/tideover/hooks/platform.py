"""The processes of hooks on this operating system, chosen here, once. Other modules of this package import them from
here.

Linux: `posix_process`. Windows: `windows_process`, which has the same functions; where a thing does not exist there
(orphans that come to us), the function does nothing. Accounts and rights: `trust`.
"""
from __future__ import annotations

import sys

if sys.platform == "win32":
    from tideover.hooks.windows_process import (
        HookProcess,
        end_runs,
        find_members,
        is_running,
        launch,
        read_process,
        reap_adopted,
        signal_name,
        why_not_started,
    )
else:
    from tideover.hooks.posix_process import (
        HookProcess,
        end_runs,
        find_members,
        is_running,
        launch,
        read_process,
        reap_adopted,
        signal_name,
        why_not_started,
    )

__all__ = [
    "HookProcess",
    "end_runs",
    "find_members",
    "is_running",
    "launch",
    "read_process",
    "reap_adopted",
    "signal_name",
    "why_not_started",
]
