"""Wakeups (self-pipe, eventfd, Windows event) and the one wait for descriptors, a wakeup or a timeout."""
from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

# --- A wakeup for the thread that waits for a hook: an eventfd, or a Windows event

if sys.platform == "win32":
    from tideover.winapi.base import close_handle as _close, create_event as _create, set_event as _set

else:
    import os
    from os import close as _close

    def _create() -> int:
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def _set(file: int) -> None:
        os.eventfd_write(file, 1)


class EventWakeup:
    """Wakes the thread that waits for a hook. May be rung from any thread, also when nobody waits any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()       # a number that was given back must not be set: it may be another's
        self._signal: int | None = None
        self.is_set = False

    def set(self) -> None:
        with self._lock:
            self.is_set = True
            if self._signal is not None:
                _set(self._signal)

    def open(self) -> int:
        """Return what can be waited for beside the hook, and is set once the bell rings: a file that can be read from,
        or an event. Whether it has rung before must be asked."""
        with self._lock:
            self._signal = _create()
            return self._signal

    def close(self) -> None:
        with self._lock:
            if self._signal is not None:
                _close(self._signal)
            self._signal = None


# --- A wakeup for a thread that waits for sockets

class SocketWakeup:
    """Rung from any thread; one thread waits for it among its sockets."""

    def __init__(self) -> None:
        self.socket, self._button = socket.socketpair()
        self.socket.setblocking(False)
        self._button.setblocking(False)

    def set(self) -> None:
        """Wake the waiter. A bell that rings already, or is gone, needs no second push."""
        try:
            self._button.send(b"\0")
        except OSError:
            return

    def clear(self) -> None:
        """Take back all rings so far."""
        try:
            while self.socket.recv(64):
                pass
        except OSError:
            return

    def close(self) -> None:
        self.socket.close()
        self._button.close()


# --- The wait

BROKEN = getattr(select, "POLLERR", 0) | getattr(select, "POLLHUP", 0) | getattr(select, "POLLNVAL", 0)


@dataclass(frozen=True, slots=True)
class WaitResult:
    """Descriptors that have something to read, and those that never will again."""

    readable: frozenset[int] = frozenset()
    broken: frozenset[int] = frozenset()


QUIET = WaitResult()


class Wait(Protocol):
    """One sleeper, any number of others who wake it."""

    def watch(self, descriptors: Iterable[int]) -> None: ...
    def forget(self, descriptors: Iterable[int]) -> None: ...
    def wait(self, timeout_ns: int) -> WaitResult: ...
    def wake(self) -> None: ...
    def close(self) -> None: ...


if sys.platform != "win32":
    class PollWait:
        """poll(2) over any descriptors, woken through an eventfd or a pipe."""

        def __init__(self) -> None:
            self._poll = select.poll()
            self._lock, self._is_closed = threading.Lock(), False   # a closed file's number may be another's by now
            if hasattr(os, "eventfd"):
                self._hear = self._call = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            else:
                self._hear, self._call = os.pipe()
                os.set_blocking(self._hear, False)
                os.set_blocking(self._call, False)
            self._poll.register(self._hear, select.POLLIN)

        def watch(self, descriptors: Iterable[int]) -> None:
            for descriptor in descriptors:
                self._poll.register(descriptor, select.POLLIN)

        def forget(self, descriptors: Iterable[int]) -> None:
            for descriptor in descriptors:
                self._poll.unregister(descriptor)

        def wait(self, timeout_ns: int) -> WaitResult:
            """Wait at most `timeout_ns`; return who has something to say."""
            events = self._poll.poll(timeout_ns / 1e6)
            if not events:
                return QUIET
            readable = frozenset(fd for fd, event in events if event & select.POLLIN)
            broken = frozenset(fd for fd, event in events if event & BROKEN)
            if self._hear in readable:
                os.read(self._hear, 4096)
            return WaitResult(readable - {self._hear}, broken)

        def wake(self) -> None:
            """End the wait now. Any thread, also when nobody waits any more; never blocks."""
            with self._lock:
                if self._is_closed:
                    return
                try:
                    os.write(self._call, (1).to_bytes(8, "little"))
                except BlockingIOError:
                    pass                        # it is awake already

        def close(self) -> None:
            with self._lock:
                self._is_closed = True
                for descriptor in {self._hear, self._call}:
                    os.close(descriptor)


class SelectWait:
    """select(2) over sockets alone: for systems without poll(2), where no reader has a descriptor either."""

    def __init__(self) -> None:
        self._hear, self._call = socket.socketpair()
        self._hear.setblocking(False)
        self._call.setblocking(False)
        self._watched: set[int] = set()

    def watch(self, descriptors: Iterable[int]) -> None:
        self._watched.update(descriptors)

    def forget(self, descriptors: Iterable[int]) -> None:
        self._watched.difference_update(descriptors)

    def wait(self, timeout_ns: int) -> WaitResult:
        """Wait at most `timeout_ns`; return who has something to say."""
        mine = self._hear.fileno()
        readable, _, _ = select.select([mine, *self._watched], [], [], timeout_ns / 1e9)
        if mine in readable:
            self._hear.recv(4096)
        return WaitResult(frozenset(readable) - {mine})

    def wake(self) -> None:
        """End the wait now. Any thread, also when nobody waits any more; never blocks."""
        with suppress(OSError):             # it is awake already, or closed
            self._call.send(b"\1")

    def close(self) -> None:
        self._hear.close()
        self._call.close()


if sys.platform == "win32":
    def new_wait() -> Wait:
        """Return the best wait this system has."""
        return SelectWait()

else:
    def new_wait() -> Wait:
        """Return the best wait this system has."""
        return PollWait()
