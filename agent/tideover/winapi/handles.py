"""Handles, events, and the wait for any of them."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
from collections.abc import Sequence
from ctypes import wintypes

from tideover.winapi.calls import DWORD, HANDLE, checked, declare, kernel32

WAIT_TIMEOUT, WAIT_FAILED = 0x102, 0xFFFFFFFF
EVENT_MODIFY_STATE = 0x2
HANDLE_FLAG_INHERIT = 1

_close = declare(kernel32, "CloseHandle", wintypes.BOOL, HANDLE)
_create_event = declare(kernel32, "CreateEventW", HANDLE, ctypes.c_void_p, wintypes.BOOL, wintypes.BOOL,
                        wintypes.LPCWSTR)
_open_event = declare(kernel32, "OpenEventW", HANDLE, DWORD, wintypes.BOOL, wintypes.LPCWSTR)
_set_event = declare(kernel32, "SetEvent", wintypes.BOOL, HANDLE)
_wait = declare(kernel32, "WaitForMultipleObjects", DWORD, DWORD, ctypes.POINTER(HANDLE), wintypes.BOOL, DWORD)
_inherit = declare(kernel32, "SetHandleInformation", wintypes.BOOL, HANDLE, DWORD, DWORD)


def close_handle(handle: int) -> None:
    """Given a handle, give it back."""
    _close(handle)


def create_event(name: str | None = None) -> int:
    """Return a new event that stays set once it is, without a name or with one. Raise OSError."""
    return int(checked(_create_event(None, True, False, name)))


def open_event(name: str) -> int:
    """Given the name of an event of some process, return a handle to set it. Raise OSError if there is none."""
    return int(checked(_open_event(EVENT_MODIFY_STATE, False, name)))


def set_event(event: int) -> None:
    checked(_set_event(event))


def let_inherit(handle: int) -> None:
    """Given a handle, let the processes that are started with it named have it too."""
    checked(_inherit(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT))


def wait_for_any(handles: Sequence[int], seconds: float | None) -> int | None:
    """Given handles, wait until one is set; return its place among them, None if the time is up. Raise OSError."""
    milliseconds = 0xFFFFFFFF if seconds is None else min(max(0, round(seconds * 1000)), 0xFFFFFFFE)
    said = _wait(len(handles), (HANDLE * len(handles))(*handles), False, milliseconds)
    if said == WAIT_TIMEOUT:
        return None
    checked(said != WAIT_FAILED)
    return int(said)
