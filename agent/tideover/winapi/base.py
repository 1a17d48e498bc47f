"""Windows basics: libraries and errors, handles and events, console control, known folders, the registry.

A Python signal handler runs only when the main thread next runs Python code, and on Windows nothing brings it back out
of a wait for a lock. Both ways here call on a thread of their own.
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import os
import threading
import uuid
import winreg
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ctypes import wintypes
from typing import Any

import pywintypes
import win32api
import win32con
import win32event

from tideover.threads import start_task

# --- Failures become OSError; functions that pywin32 lacks

kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
ntdll = ctypes.WinDLL("ntdll")

HANDLE = wintypes.HANDLE
DWORD = wintypes.DWORD
INVALID_HANDLE = ctypes.c_void_p(-1).value

ERROR_BROKEN_PIPE, ERROR_PIPE_BUSY, ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED = 109, 231, 232, 233
ERROR_PIPE_CONNECTED, ERROR_OPERATION_ABORTED = 535, 995


@contextmanager
def os_errors(file: str | None = None) -> Iterator[None]:
    """Inside, a failure of pywin32 (`pywintypes.error`, which is no OSError) is raised as the OSError of its code, with
    the file that it was about."""
    try:
        yield
    except pywintypes.error as failure:
        error = last_error(failure.winerror)
        error.filename = file
        raise error from None


def declare(library: ctypes.WinDLL, name: str, result: Any, *arguments: Any) -> Any:
    """Given a library, a function's name and its types, return the function. Raise AttributeError if it has none."""
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


def last_error(code: int | None = None) -> OSError:
    """Return the OSError of a code, or of the last call by ctypes that failed on this thread."""
    return ctypes.WinError(ctypes.get_last_error() if code is None else code)


def check(result: Any) -> Any:
    """Given the result of a call by ctypes, return it. Raise OSError if it is the false value that means failure."""
    if not result or result == INVALID_HANDLE:
        raise last_error()
    return result


# --- Handles, events, and the wait for any of them

def number_of(handle: Any) -> int:
    """Given a handle of pywin32, which would close itself, return it as a number for `close_handle`."""
    return int(handle.Detach())


def close_handle(handle: int) -> None:
    """Given a handle, close it."""
    with suppress(pywintypes.error):
        win32api.CloseHandle(handle)


def create_event(name: str | None = None) -> int:
    """Return a new event that stays set once it is, without a name or with one. Raise OSError."""
    with os_errors():
        return number_of(win32event.CreateEvent(None, True, False, name))


def open_event(name: str) -> int:
    """Given the name of an event of some process, return a handle to set it. Raise OSError if there is none."""
    with os_errors():
        return number_of(win32event.OpenEvent(win32event.EVENT_MODIFY_STATE, False, name))


def set_event(event: int) -> None:
    with os_errors():
        win32event.SetEvent(event)


def reset_event(event: int) -> None:
    with os_errors():
        win32event.ResetEvent(event)


def let_inherit(handle: int) -> None:
    """Given a handle, let the processes that are started with it named have it too."""
    with os_errors():
        win32api.SetHandleInformation(handle, win32con.HANDLE_FLAG_INHERIT, win32con.HANDLE_FLAG_INHERIT)


def wait_for_any(handles: Sequence[int], seconds: float | None) -> int | None:
    """Given handles, wait until one is set; return its place among them, None if the time is up. Raise OSError."""
    milliseconds = win32event.INFINITE if seconds is None else min(max(0, round(seconds * 1000)), 0x7FFFFFFF)
    with os_errors():
        signalled = win32event.WaitForMultipleObjects(list(handles), False, milliseconds)
    return None if signalled == win32event.WAIT_TIMEOUT else int(signalled)


# --- Console control events, and the event by which another process requests a stop

def on_console_close(end: Callable[[], None], ended: threading.Event) -> None:
    """From now on call `end` at Ctrl-C, Ctrl-Break, when the console is closed and when the system goes down.

    In the last two cases the system ends the process as soon as the handler returns, so that waits for `ended`.
    """
    def handle(what: int) -> bool:
        if what == win32con.CTRL_LOGOFF_EVENT:
            return False                # another session's: a service is notified of all sessions
        end()
        if what in (win32con.CTRL_CLOSE_EVENT, win32con.CTRL_SHUTDOWN_EVENT):
            ended.wait()
        return True

    with os_errors():
        win32api.SetConsoleCtrlHandler(handle, True)


def on_stop_request(end: Callable[[], None]) -> None:
    """From now on call `end` when another process of this session asks for it (`request_stop`)."""
    event = create_event(_name(os.getpid()))

    def wait() -> None:
        wait_for_any([event], None)
        end()

    start_task("end-event", wait)


def request_stop(pid: int) -> bool:
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


# --- Known folders (SHGetKnownFolderPath): right also where a service's environment is not

_PROGRAM_DATA = "62AB5D82-FDC1-4DC3-A9DD-070D1D495D97"
_PROFILE = "5E6C858F-0E22-4760-9AFE-EA3317B67173"


def program_data() -> str:
    r"""Return where programs keep their data for the whole machine: C:\ProgramData unless it was moved."""
    return _known_folder(_PROGRAM_DATA) or "C:\\ProgramData"


def own_profile() -> str:
    """Return our user's own folder; "" if it has none."""
    return _known_folder(_PROFILE)


def system_directory() -> str:
    r"""Return C:\Windows\System32, wherever it is."""
    return win32api.GetSystemDirectory()


def _known_folder(identifier: str) -> str:
    """By ctypes: pywin32 has SHGetKnownFolderPath in win32com only, which loads COM."""
    shell32, ole32 = ctypes.WinDLL("shell32"), ctypes.WinDLL("ole32")
    find = declare(shell32, "SHGetKnownFolderPath", ctypes.c_long, ctypes.c_char_p, wintypes.DWORD, HANDLE,
                   ctypes.POINTER(ctypes.c_void_p))
    free = declare(ole32, "CoTaskMemFree", None, ctypes.c_void_p)
    place = ctypes.c_void_p()
    status = find(uuid.UUID(identifier).bytes_le, 0, None, ctypes.byref(place))
    try:
        return ctypes.wstring_at(place.value) if status == 0 and place.value else ""
    finally:
        free(place)


# --- The registry, read only

Value = str | int | bytes | list[str]


def read_value(key: str, name: str) -> Value | None:
    r"""Given a key below HKEY_LOCAL_MACHINE and a value's name, return it; None: not there, or not for us.

    The 64-bit view, whatever Python is.
    """
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as opened:
            value: Value = winreg.QueryValueEx(opened, name)[0]
            return value
    except OSError:
        return None


def read_text(key: str, name: str) -> str:
    """Given a key and a value's name, return the value if it is a text, else ""."""
    value = read_value(key, name)
    return value.rstrip("\0") if isinstance(value, str) else ""
