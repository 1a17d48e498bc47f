"""Pipes on Windows, read and written with a deadline (overlapped)."""
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

from tideover.errors import system_reason
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
from tideover.winapi.security import own_sid, read_owner, security_attributes, trusted_sids, user_of_client

_REJECT_REMOTE = 0x8                # PIPE_REJECT_REMOTE_CLIENTS, which pywin32 does not name
_FIRST_INSTANCE = 0x80000           # FILE_FLAG_FIRST_PIPE_INSTANCE, which pywin32 does not name
_IDENTIFICATION_ONLY = 0x100000 | 0x10000     # SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION: no impersonation
_BUFFER_BYTES = 65536
FIRST_REST_S, LONGEST_REST_S = 0.05, 1.0        # of accepting, after the system could not
_CLOSED = frozenset({ERROR_BROKEN_PIPE, ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED})
_numbers = itertools.count()
_cancel = declare(kernel32, "CancelIoEx", ctypes.c_int, HANDLE, ctypes.c_void_p)
"""By ctypes: pywin32 has CancelIo only, which cancels nothing that another thread has begun."""


class _Call:
    """One call at a time, begun and later ended. `event` is set while one that was begun has ended."""

    def __init__(self, handle: int) -> None:
        self.event = create_event()
        self.overlapped = pywintypes.OVERLAPPED()
        self.overlapped.hEvent = self.event
        self._handle = handle
        self._is_closed_there = False

    def begin(self, call: Callable[[], tuple[int, object]]) -> None:
        """One that ended at once has set `event` too. Raise OSError."""
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

    def ended(self) -> int | None:
        """Wait for the end of the call; return how many bytes it moved, None: the other end is closed. Raise
        OSError."""
        if self._is_closed_there:
            return None
        try:
            return win32file.GetOverlappedResult(self._handle, self.overlapped, True)
        except pywintypes.error as failure:
            if failure.winerror in _CLOSED:
                return None
            with os_errors():
                raise


class PipeEnd:
    """Our end of a pipe. By one thread; a read and a write can be under way at once."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._read, self._write = _Call(handle), _Call(handle)
        self._room: Any = win32file.AllocateReadBuffer(_BUFFER_BYTES)
        self._is_reading = False
        self._written = b""                 # the system reads it until the write has ended

    @property
    def event(self) -> int:
        """Set while a read, or the wait for a client, that was begun has ended."""
        return self._read.event

    @property
    def written(self) -> int:
        """Set while a write that was begun has ended."""
        return self._write.event

    def begin_reading(self) -> None:
        """Begin to read, if that is not under way; `event` is set once there is something, or will never be."""
        if not self._is_reading:
            self._read.begin(lambda: win32file.ReadFile(self.handle, self._room, self._read.overlapped))
            self._is_reading = True

    def finish_reading(self) -> bytes | None:
        """Return what was read by what `begin_reading` began; b"": nothing yet; None: the other end is closed."""
        if wait_for_any([self.event], 0) is None:
            return b""
        self._is_reading = False
        try:
            size = self._read.ended()
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

    def begin_writing(self, data: bytes) -> None:
        """Begin to write so much; `written` is set once it is, or never will be. Raise OSError."""
        self._written = data
        self._write.begin(lambda: win32file.WriteFile(self.handle, data, self._write.overlapped))

    def finish_writing(self) -> int:
        """Return how many bytes what `begin_writing` began has written; 0: it has not ended. Raise BrokenPipeError."""
        if wait_for_any([self.written], 0) is None:
            return 0
        size = self._write.ended()
        if size is None:
            raise BrokenPipeError("the other end is closed")
        return size

    def write(self, data: bytes, seconds: float) -> None:
        """Write it all, each part within so many seconds. Raise TimeoutError, BrokenPipeError."""
        for start in range(0, len(data), _BUFFER_BYTES):
            self.begin_writing(data[start:start + _BUFFER_BYTES])
            if wait_for_any([self.written], seconds) is None:
                self._call_off()
                raise TimeoutError("not read in time")
            self.finish_writing()

    def begin_listening(self) -> None:
        """Begin to wait for a client; `event` is set once one has connected. Raise OSError."""
        self._read.begin(lambda: (win32pipe.ConnectNamedPipe(self.handle, self._read.overlapped), None))

    def server_process(self) -> int:
        """Return the process that answers at the other end of a pipe we opened. Raise OSError."""
        with os_errors():
            return int(win32pipe.GetNamedPipeServerProcessId(self.handle))

    def client_user(self) -> str:
        """Return the security identifier of the user whose process is at the other end, of which something was read.
        Raise OSError, also for a client that lets no server know it."""
        return user_of_client(self.handle)

    def close(self) -> None:
        self._call_off()
        close_handle(self.handle)
        close_handle(self.event)
        close_handle(self.written)

    def _call_off(self) -> None:
        """What the system still writes into our memory must be over before that memory goes."""
        if _cancel(self.handle, None):
            for call in (self._read, self._write):
                with contextlib.suppress(OSError):
                    call.ended()
        self._is_reading = False


class PipeListener:
    """Where clients connect to a pipe. Given its name and who may use it (a security descriptor in its language); raise
    OSError if the name is taken. One thread accepts.

    `may_be_held`: a client that still holds its end of a pipe of the agent before this one keeps the name in use; then
    it is enough that the pipe was made by one whom we trust.
    """

    def __init__(self, name: str, access: str, *, may_be_held: bool = False) -> None:
        self._name, self._attributes = name, security_attributes(access)
        self._closing = create_event()
        try:
            self._free: PipeEnd | None = create_pipe(name, self._attributes, is_first=True)
        except PermissionError:
            self._free = create_pipe(name, self._attributes, is_first=False) if may_be_held else None
            if self._free is None or read_owner(self._free.handle) not in trusted_sids(own_sid()):
                raise

    def accept(self) -> PipeEnd | None:
        """Wait for a client; None: closed. Raise OSError if the system has no resources for one more."""
        if self._free is None:
            self._free = create_pipe(self._name, self._attributes, is_first=False)
        here, self._free = self._free, None
        try:
            here.begin_listening()
        except OSError:
            here.close()
            raise
        if wait_for_any([self._closing, here.event], None) == 0:
            here.close()
            return None
        with contextlib.suppress(OSError):      # tried again, and reported, before the next client is waited for
            self._free = create_pipe(self._name, self._attributes, is_first=False)
        return here

    def accept_each(self, begin: Callable[[PipeEnd], None], on_problem: Callable[[str | None], None]) -> None:
        """Give each client to `begin` until this is closed. `on_problem` is called once with why none can be accepted,
        and with None when one can be again."""
        rest_s, is_troubled = FIRST_REST_S, False
        while True:
            try:
                end = self.accept()
            except OSError as trouble:
                if not is_troubled:
                    is_troubled = True
                    on_problem(system_reason(trouble))
                if wait_for_any([self._closing], rest_s) is not None:
                    return
                rest_s = min(2 * rest_s, LONGEST_REST_S)
                continue
            if end is None:
                return
            rest_s = FIRST_REST_S
            if is_troubled:
                is_troubled = False
                on_problem(None)
            begin(end)

    def close(self) -> None:
        """End the wait for a client. Any thread."""
        set_event(self._closing)

    def release(self) -> None:
        """When no thread accepts any more."""
        if self._free is not None:
            self._free.close()
        close_handle(self._closing)


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
