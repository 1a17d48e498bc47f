"""Pipes read and written with a deadline, which on Windows means overlapped: started, waited for, called off."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import itertools
import os
from ctypes import wintypes

from tideover.winapi.base import (
    DWORD,
    ERROR_BROKEN_PIPE,
    ERROR_IO_PENDING,
    ERROR_NO_DATA,
    ERROR_OPERATION_ABORTED,
    ERROR_PIPE_BUSY,
    ERROR_PIPE_CONNECTED,
    HANDLE,
    check,
    close_handle,
    create_event,
    declare,
    kernel32,
    last_error,
    let_inherit,
    wait_for_any,
)
from tideover.winapi.security import SecurityAttributes

_ACCESS_INBOUND, _ACCESS_DUPLEX, _FIRST_INSTANCE, _OVERLAPPED = 0x1, 0x3, 0x80000, 0x40000000
_REJECT_REMOTE, _UNLIMITED_INSTANCES = 0x8, 255
_GENERIC_READ, _GENERIC_WRITE, _OPEN_EXISTING = 0x80000000, 0x40000000, 3
_AS_WHO_BUT_NOT_FOR = 0x100000 | 0x10000     # SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION: no impersonation
_BUFFER_BYTES = 65536
_numbers = itertools.count()


class Overlapped(ctypes.Structure):
    """OVERLAPPED: one call under way."""

    _fields_ = (("internal", ctypes.c_size_t * 2), ("offset", DWORD * 2), ("event", HANDLE))


_POINTER = ctypes.POINTER(Overlapped)
_create = declare(kernel32, "CreateNamedPipeW", HANDLE, wintypes.LPCWSTR, DWORD, DWORD, DWORD, DWORD, DWORD, DWORD,
                  ctypes.c_void_p)
_connect = declare(kernel32, "ConnectNamedPipe", wintypes.BOOL, HANDLE, _POINTER)
_open = declare(kernel32, "CreateFileW", HANDLE, wintypes.LPCWSTR, DWORD, DWORD, ctypes.c_void_p, DWORD, DWORD, HANDLE)
_wait_named = declare(kernel32, "WaitNamedPipeW", wintypes.BOOL, wintypes.LPCWSTR, DWORD)
_read = declare(kernel32, "ReadFile", wintypes.BOOL, HANDLE, ctypes.c_void_p, DWORD, ctypes.c_void_p, _POINTER)
_write = declare(kernel32, "WriteFile", wintypes.BOOL, HANDLE, ctypes.c_void_p, DWORD, ctypes.c_void_p, _POINTER)
_result = declare(kernel32, "GetOverlappedResult", wintypes.BOOL, HANDLE, _POINTER, ctypes.POINTER(DWORD),
                  wintypes.BOOL)
_cancel = declare(kernel32, "CancelIoEx", wintypes.BOOL, HANDLE, _POINTER)
_server_process = declare(kernel32, "GetNamedPipeServerProcessId", wintypes.BOOL, HANDLE, ctypes.POINTER(DWORD))
_reset = declare(kernel32, "ResetEvent", wintypes.BOOL, HANDLE)


class PipeEnd:
    """Our end of a pipe. One call at a time, by one thread."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.event = create_event()         # set while a call that was begun has ended
        self._overlapped = Overlapped(event=self.event)
        self._room = ctypes.create_string_buffer(_BUFFER_BYTES)
        self._is_reading = False

    def begin_reading(self) -> None:
        """Begin to read, if that is not under way; `event` is set once there is something, or will never be."""
        if not self._is_reading:
            _reset(self.event)
            self._begun(_read(self.handle, self._room, len(self._room), None, ctypes.byref(self._overlapped)))
            self._is_reading = True

    def finish_reading(self) -> bytes | None:
        """Return what was read by what `begin_reading` began; b"": nothing yet; None: the other end is closed."""
        if wait_for_any([self.event], 0) is None:
            return b""
        self._is_reading = False
        try:
            size = self._ended()
        except OSError as error:
            if error.winerror == ERROR_OPERATION_ABORTED:   # the thread that began it has ended, and it with that one
                return b""
            raise
        return None if size is None else self._room.raw[:size]

    def read(self, seconds: float) -> bytes | None:
        """Return what comes within so many seconds; None: the other end is closed. Raise TimeoutError."""
        self.begin_reading()
        if wait_for_any([self.event], seconds) is None:
            self._call_off()
            raise TimeoutError("nothing came in time")
        return self.finish_reading()

    def write(self, data: bytes, seconds: float) -> None:
        """Write it all, each part within so many seconds. Raise TimeoutError, BrokenPipeError."""
        for start in range(0, len(data), _BUFFER_BYTES):
            part = data[start:start + _BUFFER_BYTES]
            _reset(self.event)
            self._begun(_write(self.handle, part, len(part), None, ctypes.byref(self._overlapped)))
            if wait_for_any([self.event], seconds) is None:
                self._call_off()
                raise TimeoutError("not read in time")
            if self._ended() is None:
                raise BrokenPipeError("the other end is closed")

    def begin_listening(self) -> None:
        """Begin to wait for a client; `event` is set once one has connected. Raise OSError."""
        _reset(self.event)
        self._begun(_connect(self.handle, ctypes.byref(self._overlapped)))

    def server_process(self) -> int:
        """Return the process that answers at the other end of a pipe we opened. Raise OSError."""
        process = DWORD()
        check(_server_process(self.handle, ctypes.byref(process)))
        return process.value

    def close(self) -> None:
        self._call_off()
        close_handle(self.handle)
        close_handle(self.event)

    def _begun(self, at_once: int) -> None:
        code = 0 if at_once else ctypes.get_last_error()
        if code in (ERROR_PIPE_CONNECTED, ERROR_BROKEN_PIPE, ERROR_NO_DATA):
            self._overlapped.internal[0] = 0 if code == ERROR_PIPE_CONNECTED else 0xC000014B    # STATUS_PIPE_BROKEN
            _set_event(self.event)
        elif code not in (0, ERROR_IO_PENDING):
            raise last_error(code)

    def _ended(self) -> int | None:
        size = DWORD()
        if _result(self.handle, ctypes.byref(self._overlapped), ctypes.byref(size), True):
            return size.value
        if ctypes.get_last_error() in (ERROR_BROKEN_PIPE, ERROR_NO_DATA, 233):      # 233: ERROR_PIPE_NOT_CONNECTED
            return None
        raise last_error()

    def _call_off(self) -> None:
        """What the system still writes into our memory must be over before that memory goes."""
        self._is_reading = False
        if _cancel(self.handle, ctypes.byref(self._overlapped)):
            _result(self.handle, ctypes.byref(self._overlapped), ctypes.byref(DWORD()), True)


_set_event = declare(kernel32, "SetEvent", wintypes.BOOL, HANDLE)


def create_pipe(name: str, attributes: SecurityAttributes, is_first: bool) -> PipeEnd:
    """Given a pipe's name and who may use it, return one end for one client of this machine. Raise OSError.

    `is_first`: raise if the name is taken already.
    """
    how = _ACCESS_DUPLEX | _OVERLAPPED | (_FIRST_INSTANCE if is_first else 0)
    return PipeEnd(int(check(_create(name, how, _REJECT_REMOTE, _UNLIMITED_INSTANCES, _BUFFER_BYTES, _BUFFER_BYTES, 0,
                                       ctypes.byref(attributes)))))


def connect_pipe(name: str, seconds: float) -> PipeEnd:
    """Given a pipe's name, return our end of it. Raise OSError if there is no server, or no instance gets free in
    time."""
    while True:
        handle = _open(name, _GENERIC_READ | _GENERIC_WRITE, 0, None, _OPEN_EXISTING, _OVERLAPPED | _AS_WHO_BUT_NOT_FOR,
                       None)
        if handle and handle != ctypes.c_void_p(-1).value:
            return PipeEnd(int(handle))
        error = last_error()
        if error.winerror != ERROR_PIPE_BUSY or not _wait_named(name, max(1, round(seconds * 1000))):
            raise error


def output_pipe() -> tuple[PipeEnd, int]:
    """Return a pipe: our end to read from, and a handle to write to that a new process may be given. Raise OSError.

    An unnamed pipe cannot be waited for; this one has a random name and accepts one writer.
    """
    name = f"\\\\.\\pipe\\tideover-output-{os.getpid()}-{next(_numbers)}-{os.urandom(8).hex()}"
    ours = PipeEnd(int(check(_create(name, _ACCESS_INBOUND | _OVERLAPPED | _FIRST_INSTANCE, _REJECT_REMOTE, 1, 0,
                                       _BUFFER_BYTES, 0, None))))
    try:
        theirs = int(check(_open(name, _GENERIC_WRITE, 0, None, _OPEN_EXISTING, 0, None)))
        let_inherit(theirs)
    except OSError:
        ours.close()
        raise
    return ours, theirs
