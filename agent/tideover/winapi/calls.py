"""The libraries, and how their failures become OSError."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
from ctypes import wintypes
from typing import Any

kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)
ntdll = ctypes.WinDLL("ntdll")

HANDLE = wintypes.HANDLE
DWORD = wintypes.DWORD
INVALID_HANDLE = ctypes.c_void_p(-1).value

ERROR_FILE_NOT_FOUND, ERROR_ACCESS_DENIED, ERROR_BROKEN_PIPE, ERROR_PIPE_BUSY = 2, 5, 109, 231
ERROR_MORE_DATA, ERROR_NO_DATA, ERROR_PIPE_CONNECTED, ERROR_IO_PENDING = 234, 232, 535, 997
ERROR_OPERATION_ABORTED = 995


def declare(library: ctypes.WinDLL, name: str, result: Any, *arguments: Any) -> Any:
    """Given a library, a function's name and its types, return the function. Raise AttributeError if it has none."""
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


def trouble(code: int | None = None) -> OSError:
    """Return the OSError of a code, or of the last call that failed on this thread."""
    return ctypes.WinError(ctypes.get_last_error() if code is None else code)


def checked(result: Any) -> Any:
    """Given a call's result, return it. Raise OSError if it is the false value that means failure."""
    if not result or result == INVALID_HANDLE:
        raise trouble()
    return result
