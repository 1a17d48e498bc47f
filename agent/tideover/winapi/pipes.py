"""Pipes read and written with a deadline, which on Windows means overlapped: started, waited for, called off."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import contextlib
import ctypes
import itertools
import os
from collections.abc import Callable
from typing import Any

import pywintypes
import win32con
import win32file
import win32pipe

from tideover.winapi.base import (
    ERROR_BROKEN_PIPE,
    ERROR_NO_DATA,
    ERROR_OPERATION_ABORTED,
    ERROR_PIPE_BUSY,
    ERROR_PIPE_CONNECTED,
    ERROR_PIPE_NOT_CONNECTED,
    HANDLE,
    close_handle,
    create_event,
    declare,
    kernel32,
    let_inherit,
    number_of,
    os_errors,
    reset_event,
    set_event,
    wait_for_any,
)

_REJECT_REMOTE = 0x8                # PIPE_REJECT_REMOTE_CLIENTS, which pywin32 does not name
_FIRST_INSTANCE = 0x80000           # FILE_FLAG_FIRST_PIPE_INSTANCE, which pywin32 does not name
_IDENTIFICATION_ONLY = 0x100000 | 0x10000     # SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION: no impersonation
_BUFFER_BYTES = 65536
_CLOSED = frozenset({ERROR_BROKEN_PIPE, ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED})
_numbers = itertools.count()
_cancel = declare(kernel32, "CancelIoEx", ctypes.c_int, HANDLE, ctypes.c_void_p)
"""By ctypes: pywin32 has CancelIo only, which cancels nothing that another thread has begun."""


class PipeEnd:
    """Our end of a pipe. One call at a time, by one thread."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.event = create_event()         # set while a call that was begun has ended
        self._overlapped = pywintypes.OVERLAPPED()
        self._overlapped.hEvent = self.event
        self._room: Any = win32file.AllocateReadBuffer(_BUFFER_BYTES)
        self._is_reading = self._is_closed_there = False

    def begin_reading(self) -> None:
        """Begin to read, if that is not under way; `event` is set once there is something, or will never be."""
        if not self._is_reading:
            self._begin(lambda: win32file.ReadFile(self.handle, self._room, self._overlapped))
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
        return None if size is None else bytes(self._room[:size])

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
            self._begin(lambda part=part: win32file.WriteFile(self.handle, part, self._overlapped))     # type: ignore[misc]
            if wait_for_any([self.event], seconds) is None:
                self._call_off()
                raise TimeoutError("not read in time")
            if self._ended() is None:
                raise BrokenPipeError("the other end is closed")

    def begin_listening(self) -> None:
        """Begin to wait for a client; `event` is set once one has connected. Raise OSError."""
        self._begin(lambda: (win32pipe.ConnectNamedPipe(self.handle, self._overlapped), None))

    def server_process(self) -> int:
        """Return the process that answers at the other end of a pipe we opened. Raise OSError."""
        with os_errors():
            return int(win32pipe.GetNamedPipeServerProcessId(self.handle))

    def close(self) -> None:
        self._call_off()
        close_handle(self.handle)
        close_handle(self.event)

    def _begin(self, call: Callable[[], tuple[int, object]]) -> None:
        """Begin a call; one that ended at once has set `event` too."""
        reset_event(self.event)
        self._is_closed_there = False
        try:
            code, _ = call()
        except pywintypes.error as failure:
            if failure.winerror not in _CLOSED:
                with os_errors():
                    raise
            self._is_closed_there = True
        if self._is_closed_there or code == ERROR_PIPE_CONNECTED:
            set_event(self.event)

    def _ended(self) -> int | None:
        """Wait for the end of the call; return how many bytes it moved, None: the other end is closed."""
        if self._is_closed_there:
            return None
        try:
            return win32file.GetOverlappedResult(self.handle, self._overlapped, True)
        except pywintypes.error as failure:
            if failure.winerror in _CLOSED:
                return None
            with os_errors():
                raise

    def _call_off(self) -> None:
        """What the system still writes into our memory must be over before that memory goes."""
        self._is_reading = False
        if _cancel(self.handle, None):
            with contextlib.suppress(OSError):
                self._ended()


def create_pipe(name: str, attributes: Any, is_first: bool) -> PipeEnd:
    """Given a pipe's name and who may use it, return one end for one client of this machine. Raise OSError.

    `is_first`: raise if the name is taken already.
    """
    how = win32pipe.PIPE_ACCESS_DUPLEX | win32con.FILE_FLAG_OVERLAPPED | (_FIRST_INSTANCE if is_first else 0)
    return PipeEnd(_create(name, how, win32pipe.PIPE_UNLIMITED_INSTANCES, _BUFFER_BYTES, attributes))


def _create(name: str, how: int, instances: int, out_bytes: int, attributes: Any) -> int:
    with os_errors():
        return number_of(win32pipe.CreateNamedPipe(name, how, _REJECT_REMOTE, instances, out_bytes, _BUFFER_BYTES, 0,
                                                   attributes))


def _open(name: str, access: int, how: int) -> int:
    with os_errors():
        return number_of(win32file.CreateFile(name, access, 0, None, win32con.OPEN_EXISTING, how, None))


def connect_pipe(name: str, seconds: float) -> PipeEnd:
    """Given a pipe's name, return our end of it. Raise OSError if there is no server, or no instance gets free in
    time."""
    while True:
        try:
            return PipeEnd(_open(name, win32con.GENERIC_READ | win32con.GENERIC_WRITE,
                                 win32con.FILE_FLAG_OVERLAPPED | _IDENTIFICATION_ONLY))
        except OSError as error:
            if error.winerror != ERROR_PIPE_BUSY:
                raise
            try:
                win32pipe.WaitNamedPipe(name, max(1, round(seconds * 1000)))
            except pywintypes.error:
                raise error from None


def output_pipe() -> tuple[PipeEnd, int]:
    """Return a pipe: our end to read from, and a handle to write to that a new process may be given. Raise OSError.

    An unnamed pipe cannot be waited for; this one has a random name and accepts one writer.
    """
    name = f"\\\\.\\pipe\\tideover-output-{os.getpid()}-{next(_numbers)}-{os.urandom(8).hex()}"
    ours = PipeEnd(_create(name, win32pipe.PIPE_ACCESS_INBOUND | win32con.FILE_FLAG_OVERLAPPED | _FIRST_INSTANCE, 1, 0,
                           None))
    try:
        theirs = _open(name, win32con.GENERIC_WRITE, 0)
        let_inherit(theirs)
    except OSError:
        ours.close()
        raise
    return ours, theirs
