"""A program of the drill with all that belongs to it: how it is stopped and ended is chosen here, once."""
from __future__ import annotations

import sys

if sys.platform == "win32":
    from tideover.drill.group_windows import HOW_KILLED, HOW_STOPPED, Group, end_hooks_of, why_no_place
else:
    from tideover.drill.group_posix import HOW_KILLED, HOW_STOPPED, Group, end_hooks_of, why_no_place

__all__ = ["HOW_KILLED", "HOW_STOPPED", "Group", "end_hooks_of", "why_no_place"]
