"""How the agent's process is told to end, or to read its configuration anew: chosen here, once.

Whatever the way, it only raises a flag and wakes the loop. A Windows service is told by the service manager
instead, and calls the same two verbs (`Running.end_soon`, `Running.read_soon`).
"""
from __future__ import annotations

import sys
import threading
from collections.abc import Callable

if sys.platform == "win32":
    from tideover.winapi.console import call_when_asked_to_end, call_when_told_to_end

    def obey(end_soon: Callable[[], None], read_soon: Callable[[], None], ended: threading.Event) -> None:
        """Call `end_soon` at Ctrl-C, Ctrl-Break, the console's or the machine's end, or when another process asks for
        it. `ended` is set when all is put away. Nobody asks a console program to read its configuration anew."""
        call_when_told_to_end(end_soon, ended)
        call_when_asked_to_end(end_soon)

else:
    import signal

    def obey(end_soon: Callable[[], None], read_soon: Callable[[], None], ended: threading.Event) -> None:
        """Call `end_soon` at SIGTERM and SIGINT, `read_soon` at SIGHUP. `ended` is set when all is put away."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: end_soon())
        signal.signal(signal.SIGHUP, lambda *_: read_soon())
