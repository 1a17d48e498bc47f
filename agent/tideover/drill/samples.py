"""The built-in sample hooks in a language that this system has: chosen here, once."""
from __future__ import annotations

import sys

if sys.platform == "win32":
    from tideover.drill.samples_windows import HOOKS, NOTEBOOK
else:
    from tideover.drill.samples_posix import HOOKS, NOTEBOOK

__all__ = ["HOOKS", "NOTEBOOK"]
