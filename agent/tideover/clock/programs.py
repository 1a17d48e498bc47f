"""Other programs, run for an answer: how, is chosen here, once."""
from __future__ import annotations

import sys

if sys.platform == "win32":
    from tideover.clock.commands_windows import run
else:
    from tideover.clock.commands import run

__all__ = ["run"]
