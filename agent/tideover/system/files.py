"""Where the files of the kernel and of other programs lie: /proc, /sys, /etc. Chosen here, once."""
from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path("C:\\<none>") if sys.platform == "win32" else Path("/")
"""The root of that tree. Windows has none, and what somebody puts under C:\\proc or C:\\etc, where every user may make
directories, must not be believed: there it is a name that no file can have."""
