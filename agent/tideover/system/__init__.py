"""What several packages need of the operating system: its clocks, programs, files; the root of its files (ROOT).

Each file is one concern and chooses, once, between the systems. What only one package needs of its system lies in
that package, behind a choice of its own.
"""
from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path("C:\\<none>") if sys.platform == "win32" else Path("/")
"""Where the files of the system are looked for (/proc, /sys, /etc). Windows has none of them. What a user puts under
C:\\proc or C:\\etc, where every user may make directories, must not be believed: there it is a name that no file
has."""
