"""The transport of applications on Linux: Unix socket, one selector, the client's user as the kernel tells it."""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import contextlib
import os
import pwd
import resource
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tideover.api.unix_socket import identity_of, listen_at, peer_of
from tideover.errors import system_reason
from tideover.settings.values import PathsSettings
from tideover.system.wakeup import Wakeup

SUPERUSER = 0
DESCRIPTORS_KEPT = 256           # of those the process may have: for hooks, the journal, the platform
READ_AT_ONCE = 65536
REST_S = 0.5                     # of accepting, after the system could not
WAITING_AT_MOST = 128            # clients that are not accepted yet
FOR_EVERY_USER = 0o666



class SocketChannel:
    """One client's connection. On the server's thread."""

    def __init__(self, connection: socket.socket, selector: selectors.BaseSelector) -> None:
        """Raise OSError."""
        self.connection, self.user, self.is_closed = connection, peer_of(connection)[1], False
        self._selector, self._output = selector, bytearray()
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, self)

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client to read."""
        return len(self._output)

    def send(self, data: bytes) -> None:
        """Does not wait for the client. Raise OSError if it is gone."""
        self._output += data
        self.flush()

    def flush(self) -> None:
        """Send what the client has room for. Raise OSError if it is gone."""
        with contextlib.suppress(BlockingIOError):
            while self._output:
                del self._output[:self.connection.send(self._output)]
        self._selector.modify(
            self.connection, selectors.EVENT_READ | (selectors.EVENT_WRITE if self._output else 0), self)

    def close(self, last: bytes = b"") -> None:
        """`last`: sent before, if the client takes it."""
        if self.is_closed:
            return
        self.is_closed = True
        if last:
            with contextlib.suppress(OSError):
                self.connection.send(self._output + last)
        self._selector.unregister(self.connection)
        self.connection.close()


class SocketTransport:
    """Listens at a path, whose directory is ours. Raise OSError if that fails."""

    def __init__(self, path: Path, on_problem: Callable[[str | None], None]) -> None:
        self._path, self._on_problem = path, on_problem
        self._listener = listen_at(path, FOR_EVERY_USER, WAITING_AT_MOST)
        self._listener.setblocking(False)
        self._identity = identity_of(path)
        self._accept_at_s: float | None = None
        self._is_troubled = False
        self._wakeup = Wakeup()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wakeup, selectors.EVENT_READ)

    def wait(self, seconds: float | None) -> Iterator[tuple[SocketChannel, bytes | None]]:
        """Yield connections, each with what has arrived: b"" for a new one, None at its end."""
        if self._accept_at_s is not None:
            rest_s = max(0.0, self._accept_at_s - time.monotonic())
            seconds = rest_s if seconds is None else min(seconds, rest_s)
        for key, mask in self._selector.select(seconds):
            if key.fileobj is self._wakeup:
                self._wakeup.clear()
            elif key.fileobj is self._listener:
                channel = self._accept()
                if channel is not None:
                    yield channel, b""
            elif not key.data.is_closed:
                with contextlib.suppress(BlockingIOError):
                    yield key.data, _converse(key.data, mask)
        if self._accept_at_s is not None and time.monotonic() >= self._accept_at_s:
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._accept_at_s = None

    def is_replaced(self) -> bool:
        """Return whether another process removed the socket or put something else in its place. Any thread."""
        return identity_of(self._path) != self._identity

    def listen_again(self) -> None:
        """In the place of what is there now; connections stay. On the thread that waits. Raise OSError."""
        listener = listen_at(self._path, FOR_EVERY_USER, WAITING_AT_MOST)
        listener.setblocking(False)
        if self._accept_at_s is None:
            self._selector.unregister(self._listener)
        self._listener.close()
        self._listener, self._identity, self._accept_at_s = listener, identity_of(self._path), None
        self._selector.register(listener, selectors.EVENT_READ)

    def wake(self) -> None:
        """End the wait. Any thread."""
        self._wakeup.set()

    def close(self) -> None:
        """End all connections, and listen no more. When nothing waits any more."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, SocketChannel):
                key.data.close()
        self._selector.close()
        self._wakeup.close()
        self._listener.close()
        if not self.is_replaced():
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _accept(self) -> SocketChannel | None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        except OSError as trouble:      # no descriptor, no memory: waiting clients would wake the thread all the time
            self._selector.unregister(self._listener)
            self._accept_at_s = time.monotonic() + REST_S
            if not self._is_troubled:
                self._is_troubled = True
                self._on_problem(system_reason(trouble))
            return None
        if self._is_troubled:
            self._is_troubled = False
            self._on_problem(None)
        try:
            return SocketChannel(connection, self._selector)
        except OSError:
            connection.close()
            return None


def _converse(channel: SocketChannel, mask: int) -> bytes | None:
    """Return what has arrived, None at the end. Raise BlockingIOError if nothing has."""
    try:
        if mask & selectors.EVENT_WRITE:
            channel.flush()
        if mask & selectors.EVENT_READ:
            return channel.connection.recv(READ_AT_ONCE) or None
    except BlockingIOError:
        raise
    except OSError:
        return None
    raise BlockingIOError


def address_of(paths: PathsSettings) -> str:
    """Return where applications connect: in a directory of its own, so that containers can mount it."""
    return f"{paths.runtime}/applications/socket"


def connections_possible() -> int:
    """Return how many connections leave the process the descriptors it needs."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, most - DESCRIPTORS_KEPT) if most != resource.RLIM_INFINITY else sys.maxsize


def find_user(name: str | None) -> int | None:
    """Given a user's name, None: the one this agent runs as, return its number; None if there is no such user."""
    if name is None:
        return os.geteuid()
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None
