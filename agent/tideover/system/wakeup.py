"""The wakeup that any thread gives to one that waits, and the wait for descriptors, a wakeup or a timeout."""
from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

# --- The wakeup

class Signal(Protocol):
    """What the system wakes a thread with."""

    def fileno(self) -> int: ...
    def set(self) -> None: ...
    def clear(self) -> None: ...
    def close(self) -> None: ...


if sys.platform == "win32":
    from tideover.winapi.base import close_handle, create_event, set_event

    class SocketPair:
        """For select(2), which knows only sockets there."""

        def __init__(self) -> None:
            self._read_end, self._write_end = socket.socketpair()
            self._read_end.setblocking(False)
            self._write_end.setblocking(False)

        def fileno(self) -> int:
            return self._read_end.fileno()

        def set(self) -> None:
            with suppress(BlockingIOError):     # it is set already
                self._write_end.send(b"\0")

        def clear(self) -> None:
            with suppress(BlockingIOError):
                while self._read_end.recv(64):
                    pass

        def close(self) -> None:
            self._read_end.close()
            self._write_end.close()

    class KernelEvent:
        """For a wait among handles; stays set once it is."""

        def __init__(self) -> None:
            self._event = create_event()

        def fileno(self) -> int:
            return self._event

        def set(self) -> None:
            set_event(self._event)

        def clear(self) -> None:
            """Nothing: a hook is called off once."""

        def close(self) -> None:
            close_handle(self._event)

    FOR_DESCRIPTORS: Callable[[], Signal] = SocketPair
    FOR_HOOKS: Callable[[], Signal] = KernelEvent

else:
    class EventFd:
        """eventfd(2): for poll, select and all of their kind."""

        def __init__(self) -> None:
            self._file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

        def fileno(self) -> int:
            return self._file

        def set(self) -> None:
            os.eventfd_write(self._file, 1)

        def clear(self) -> None:
            with suppress(BlockingIOError):     # it was not set
                os.eventfd_read(self._file)

        def close(self) -> None:
            os.close(self._file)

    FOR_DESCRIPTORS = FOR_HOOKS = EventFd


class Wakeup:
    """Set from any thread, also before anything waits and after nothing does any more; one thread waits for its
    `fileno()` among others. Nothing is opened before that is asked for."""

    def __init__(self, kind: Callable[[], Signal] = FOR_DESCRIPTORS) -> None:
        self._lock = threading.Lock()       # the number of a closed descriptor must not be used: it may be another's
        self._kind = kind
        self._signal: Signal | None = None
        self.is_set = False

    def fileno(self) -> int:
        """Return what can be waited for, open from now on. Raise OSError."""
        with self._lock:
            if self._signal is None:
                self._signal = self._kind()
                if self.is_set:
                    self._signal.set()
            return self._signal.fileno()

    def set(self) -> None:
        """Wake the one that waits. Never blocks."""
        with self._lock:
            if not self.is_set and self._signal is not None:
                self._signal.set()
            self.is_set = True

    def clear(self) -> None:
        """Take back whatever was set so far: for the thread that waits, before it looks for what woke it."""
        with self._lock:
            if self.is_set and self._signal is not None:
                self._signal.clear()
            self.is_set = False

    def close(self) -> None:
        """Give the descriptor back. To set it stays allowed."""
        with self._lock:
            if self._signal is not None:
                self._signal.close()
            self._signal, self._kind = None, _refuse


def _refuse() -> Signal:
    raise OSError("this wakeup is closed")


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
        """poll(2) over any descriptors. (`selectors` does not tell a broken descriptor from one with something to
        read.)"""

        def __init__(self) -> None:
            self._poll, self._wakeup = select.poll(), Wakeup()
            self.watch([self._wakeup.fileno()])

        def watch(self, descriptors: Iterable[int]) -> None:
            for descriptor in descriptors:
                self._poll.register(descriptor, select.POLLIN)

        def forget(self, descriptors: Iterable[int]) -> None:
            for descriptor in descriptors:
                self._poll.unregister(descriptor)

        def wait(self, timeout_ns: int) -> WaitResult:
            """Wait at most `timeout_ns`; return what has something to say."""
            events = self._poll.poll(timeout_ns / 1e6)
            if not events:
                return QUIET
            self._wakeup.clear()
            readable = frozenset(fd for fd, event in events if event & select.POLLIN)
            broken = frozenset(fd for fd, event in events if event & BROKEN)
            return WaitResult(readable - {self._wakeup.fileno()}, broken)

        def wake(self) -> None:
            """End the wait now. Any thread, also when nothing waits any more; never blocks."""
            self._wakeup.set()

        def close(self) -> None:
            self._wakeup.close()


class SelectWait:
    """select(2) over sockets alone: for systems without poll(2), where no reader has a descriptor either."""

    def __init__(self) -> None:
        self._wakeup = Wakeup()
        self._watched = {self._wakeup.fileno()}

    def watch(self, descriptors: Iterable[int]) -> None:
        self._watched.update(descriptors)

    def forget(self, descriptors: Iterable[int]) -> None:
        self._watched.difference_update(descriptors)

    def wait(self, timeout_ns: int) -> WaitResult:
        """Wait at most `timeout_ns`; return what has something to say."""
        readable, _, _ = select.select(list(self._watched), [], [], timeout_ns / 1e9)
        if not readable:
            return QUIET
        self._wakeup.clear()
        return WaitResult(frozenset(readable) - {self._wakeup.fileno()})

    def wake(self) -> None:
        """End the wait now. Any thread, also when nothing waits any more; never blocks."""
        self._wakeup.set()

    def close(self) -> None:
        self._wakeup.close()


if sys.platform == "win32":
    new_wait: Callable[[], Wait] = SelectWait
else:
    new_wait = PollWait
