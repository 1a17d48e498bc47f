"""Known folders (SHGetKnownFolderPath): right also where a service's environment is not."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import uuid
from ctypes import wintypes

from tideover.winapi.calls import HANDLE, declare

_PROGRAM_DATA = "62AB5D82-FDC1-4DC3-A9DD-070D1D495D97"
_PROFILE = "5E6C858F-0E22-4760-9AFE-EA3317B67173"


def program_data() -> str:
    r"""Return where programs keep their data for the whole machine: C:\ProgramData unless somebody moved it."""
    return _known_folder(_PROGRAM_DATA) or "C:\\ProgramData"


def own_profile() -> str:
    """Return our user's own folder; "" if it has none."""
    return _known_folder(_PROFILE)


def system_directory() -> str:
    r"""Return C:\Windows\System32, wherever it is."""
    room = ctypes.create_unicode_buffer(260)
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    length = declare(kernel32, "GetSystemDirectoryW", wintypes.UINT, wintypes.LPWSTR, wintypes.UINT)(room, len(room))
    return room.value if length else "C:\\Windows\\System32"


def _known_folder(identifier: str) -> str:
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
