r"""The client library's connection on Windows: the agent's named pipe, by ctypes alone.

A pipe that was opened in the ordinary way lets no thread write while another one reads, so this one is overlapped.
Nothing is sent before it is known that the pipe was made by the system, an administrator or our own user: any program
can take the name while no agent runs.
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import threading
from ctypes import wintypes
from typing import Any

_GENERIC_READ_WRITE, _OPEN_EXISTING = 0xC0000000, 3
_OVERLAPPED = 0x40000000
_IDENTIFICATION_ONLY = 0x100000 | 0x10000       # SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION: no impersonation
_IO_PENDING, _BROKEN_PIPE, _PIPE_BUSY, _NOT_CONNECTED, _ABORTED = 997, 109, 231, 233, 995
_BUSY_WAIT_MS = 1000
_KERNEL_OBJECT, _OWNER, _TOKEN_USER, _TOKEN_QUERY = 6, 1, 1, 8
_TRUSTED = frozenset({"S-1-5-18", "S-1-5-32-544"})      # the system, administrators
_INVALID = ctypes.c_void_p(-1).value


class _Overlapped(ctypes.Structure):
    _fields_ = (("internal", ctypes.c_void_p), ("internal_high", ctypes.c_void_p), ("offset", ctypes.c_uint64),
                ("event", wintypes.HANDLE))


_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)


def _declare(library: ctypes.WinDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


_H, _D, _B, _P = wintypes.HANDLE, wintypes.DWORD, wintypes.BOOL, ctypes.c_void_p
_create_file = _declare(_kernel32, "CreateFileW", _H, wintypes.LPCWSTR, _D, _D, _P, _D, _D, _H)
_wait_pipe = _declare(_kernel32, "WaitNamedPipeW", _B, wintypes.LPCWSTR, _D)
_create_event = _declare(_kernel32, "CreateEventW", _H, _P, _B, _B, wintypes.LPCWSTR)
_read_file = _declare(_kernel32, "ReadFile", _B, _H, _P, _D, _P, _P)
_write_file = _declare(_kernel32, "WriteFile", _B, _H, _P, _D, _P, _P)
_result = _declare(_kernel32, "GetOverlappedResult", _B, _H, _P, ctypes.POINTER(_D), _B)
_cancel = _declare(_kernel32, "CancelIoEx", _B, _H, _P)
_close_handle = _declare(_kernel32, "CloseHandle", _B, _H)
_current_process = _declare(_kernel32, "GetCurrentProcess", _H)
_local_free = _declare(_kernel32, "LocalFree", _P, _P)
_open_token = _declare(_advapi32, "OpenProcessToken", _B, _H, _D, ctypes.POINTER(_H))
_token_information = _declare(_advapi32, "GetTokenInformation", _B, _H, ctypes.c_int, _P, _D, ctypes.POINTER(_D))
_security_info = _declare(_advapi32, "GetSecurityInfo", _D, _H, ctypes.c_int, _D, ctypes.POINTER(_P), _P, _P, _P,
                          ctypes.POINTER(_P))
_sid_text = _declare(_advapi32, "ConvertSidToStringSidW", _B, _P, ctypes.POINTER(_P))


class PipeConnection:
    """A connection to the agent, with the methods of a socket that the client uses. Raise OSError if there is none.

    One thread reads, any may write.
    """

    def __init__(self, name: str) -> None:
        self._handle: int | None = _open(name)
        self._lock = threading.Lock()       # of the handle: a number that was closed may be another's by then
        self._writing = threading.Lock()
        try:
            check_owner(self._handle)
        except OSError:
            self.close()
            raise

    def recv(self, size: int) -> bytes:
        """Return what comes next, b"" at the end. Raise OSError."""
        room = ctypes.create_string_buffer(size)
        count = self._carry_out(_read_file, room, size)
        return room.raw[:count]

    def sendall(self, data: bytes) -> None:
        """Raise OSError."""
        with self._writing:
            while data:
                count = self._carry_out(_write_file, data, len(data))
                if not count:
                    raise BrokenPipeError("the agent has closed the pipe")
                data = data[count:]

    def shutdown(self, how: int) -> None:
        """End the read of another thread."""
        del how
        with self._lock:
            if self._handle is not None:
                _cancel(self._handle, None)

    def close(self) -> None:
        """When no thread reads or writes any more."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            _close_handle(handle)

    def __enter__(self) -> PipeConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _carry_out(self, call: Any, data: Any, size: int) -> int:
        """Begin a call and wait for its end. Return how many bytes it moved, 0 at the end of the pipe."""
        overlapped = _Overlapped(event=_create_event(None, True, False, None))
        try:
            with self._lock:
                handle = self._handle
                if handle is None:
                    raise BrokenPipeError("the pipe is closed")
                begun = call(handle, data, size, None, ctypes.byref(overlapped))
                code = 0 if begun else ctypes.get_last_error()
            if code in (0, _IO_PENDING):
                count = _D()
                if _result(handle, ctypes.byref(overlapped), ctypes.byref(count), True):
                    return count.value
                code = ctypes.get_last_error()
            if code in (_BROKEN_PIPE, _NOT_CONNECTED, _ABORTED):
                return 0
            raise ctypes.WinError(code)
        finally:
            _close_handle(overlapped.event)


def check_owner(handle: int) -> None:
    """Given an open pipe, raise PermissionError unless the system, an administrator or our own user has made it."""
    owner, whole = _P(), _P()
    code = _security_info(handle, _KERNEL_OBJECT, _OWNER, ctypes.byref(owner), None, None, None, ctypes.byref(whole))
    if code:
        raise ctypes.WinError(code)
    try:
        sid = _text(owner.value)
    finally:
        _local_free(whole)
    if sid not in _TRUSTED and sid != _own_sid():
        raise PermissionError(f"the pipe was made by {sid}, not by the agent")


def _open(name: str) -> int:
    while True:
        handle = _create_file(name, _GENERIC_READ_WRITE, 0, None, _OPEN_EXISTING, _OVERLAPPED | _IDENTIFICATION_ONLY,
                              None)
        if handle != _INVALID:
            return int(handle)
        code = ctypes.get_last_error()
        if code != _PIPE_BUSY or not _wait_pipe(name, _BUSY_WAIT_MS):
            raise ctypes.WinError(code)


def _own_sid() -> str:
    token, size = _H(), _D()
    if not _open_token(_current_process(), _TOKEN_QUERY, ctypes.byref(token)):
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        room = ctypes.create_string_buffer(256)         # SID_AND_ATTRIBUTES and a SID of 68 bytes at most
        if not _token_information(token, _TOKEN_USER, room, len(room), ctypes.byref(size)):
            raise ctypes.WinError(ctypes.get_last_error())
        return _text(_P.from_buffer(room).value)
    finally:
        _close_handle(token)


def _text(sid: int | None) -> str:
    text = _P()
    if not _sid_text(sid, ctypes.byref(text)) or not text.value:
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        return ctypes.wstring_at(text.value)
    finally:
        _local_free(text)
