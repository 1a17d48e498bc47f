"""A program with all its processes, as one group: chosen here, once, for this system."""
from __future__ import annotations

import sys

if sys.platform == "win32":
    from tideover.drill.group_windows import HOW_KILLED, HOW_STOPPED, ProcessGroup, end_hooks_of, why_no_place
else:
    from tideover.drill.group_posix import HOW_KILLED, HOW_STOPPED, ProcessGroup, end_hooks_of, why_no_place

__all__ = ["HOW_KILLED", "HOW_STOPPED", "ProcessGroup", "end_hooks_of", "why_no_place"]
