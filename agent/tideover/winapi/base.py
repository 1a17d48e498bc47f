"""What is said to a program through its console, and the event by which another process asks it to end.

A Python signal handler runs only when the main thread next runs Python code, and on Windows nothing brings it back out
of a wait for a lock. Both ways here call on a thread of their own.
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import os
import threading
from collections.abc import Callable
from ctypes import wintypes

from tideover.threads import start_task
from tideover.winapi.calls import checked, declare, kernel32
from tideover.winapi.handles import close_handle, create_event, open_event, set_event, wait_for_any

CTRL_C, CTRL_BREAK, CTRL_CLOSE, CTRL_LOGOFF, CTRL_SHUTDOWN = 0, 1, 2, 5, 6
_HANDLER = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)
_set_handler = declare(kernel32, "SetConsoleCtrlHandler", wintypes.BOOL, ctypes.c_void_p, wintypes.BOOL)
_kept: list[object] = []            # the system calls them for as long as we live


def call_when_told_to_end(end: Callable[[], None], ended: threading.Event) -> None:
    """From now on call `end` at Ctrl-C, Ctrl-Break, when the console is closed and when the system goes down.

    In the last two cases the system ends the process as soon as the handler returns, so that waits for `ended`.
    """
    def handle(what: int) -> bool:
        if what == CTRL_LOGOFF:
            return False                # somebody else's, and a service hears of everybody's
        end()
        if what in (CTRL_CLOSE, CTRL_SHUTDOWN):
            ended.wait()
        return True

    handler = _HANDLER(handle)
    _kept.append(handler)
    checked(_set_handler(ctypes.cast(handler, ctypes.c_void_p), True))


def call_when_asked_to_end(end: Callable[[], None]) -> None:
    """From now on call `end` when another process of this session asks for it (`ask_to_end`)."""
    event = create_event(_name(os.getpid()))

    def wait() -> None:
        wait_for_any([event], None)
        end()

    start_task("end-event", wait)


def ask_to_end(pid: int) -> bool:
    """Given a process, ask it to end in peace; return whether it listens."""
    try:
        event = open_event(_name(pid))
    except OSError:
        return False
    try:
        set_event(event)
    finally:
        close_handle(event)
    return True


def _name(pid: int) -> str:
    return f"Local\\tideover-end-{pid}"
