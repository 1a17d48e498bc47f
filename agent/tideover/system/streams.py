"""What our words are written in. Chosen here, once."""
from __future__ import annotations

import io
import sys

if sys.platform == "win32":
    def speak_utf8() -> None:
        """Windows has a page of 256 characters for what goes to a file or a program, another one in each country; ours
        is UTF-8 everywhere. A console takes any character already."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and not stream.isatty():
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")

else:
    def speak_utf8() -> None:
        """Nothing: the locale says what it is, and Python takes UTF-8 where that says nothing."""
