"""These run on win32 only, started by `run` beside this file; elsewhere there is nothing here to collect."""
from __future__ import annotations

import sys

collect_ignore_glob = [] if sys.platform == "win32" else ["test_*.py"]
