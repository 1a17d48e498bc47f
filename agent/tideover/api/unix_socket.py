"""The API's listener and connection on Linux: the socket, its mode and lock file; root and its owner may ask.

A process that may open the file may ask: its owner and root.

A lock file beside the socket says whose it is: only its holder removes or replaces the socket.
"""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import contextlib
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tideover.http_server import CONNECTIONS_AT_MOST, ConnectionLimits, ConnectionListener, OnProblem
from tideover.system.file_lock import lock_alone, read_pid

READ_AT_ONCE = 65536
_CREDENTIALS = struct.Struct("3i")     # pid, uid, gid (unix(7), SO_PEERCRED)


class Channel:
    """One who asks and one who answers."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def send(self, data: bytes) -> None:
        """Raise OSError."""
        self._channel.sendall(data)

    def receive(self) -> bytes:
        """Return what comes next, b"" at the end. Raise OSError, TimeoutError among them."""
        return self._channel.recv(READ_AT_ONCE)

    def peer(self) -> tuple[int, int | None]:
        """Return the process id (0: not of our namespace) and the user id of who listens. Raise OSError."""
        return peer_of(self._channel)

    def close(self) -> None:
        self._channel.close()


class ApiListener:
    """Listens at the socket's path. Raise OSError if that fails, or if another agent listens there."""

    def __init__(self, path: Path, reply: Callable[[bytes], bytes], timeout_s: float, longest_question: int,
                 on_problem: OnProblem) -> None:
        """`reply`: given a line, what is answered; any thread, and it may take long."""
        self._path, self._reply = path, reply
        with contextlib.ExitStack() as on_failure:      # a lock that is left would keep ourselves out the next time
            lock = _lock(path.with_suffix(".lock"))
            on_failure.callback(os.close, lock)
            self._lock: int | None = lock
            self._closing = threading.Lock()
            listener = on_failure.enter_context(listen_at(path, 0o600, CONNECTIONS_AT_MOST))
            self._identity = identity_of(path)
            limits = ConnectionLimits(timeout_s, longest_question)
            self._listening = ConnectionListener(listener, "api", limits, self._answers, on_problem)
            on_failure.pop_all()

    def is_replaced(self) -> bool:
        """Return whether another process removed the socket or put something else in its place."""
        return identity_of(self._path) != self._identity

    def close(self) -> None:
        self._listening.close()
        if not self.is_replaced():
            with contextlib.suppress(OSError):
                self._path.unlink()
        with self._closing:         # the poller's thread may close it for being replaced while the agent closes it
            lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _answers(self, received: bytes, is_request_complete: bool) -> Callable[[], bytes] | None:
        line, end, _ = received.partition(b"\n")
        return partial(self._reply, line) if end or (is_request_complete and line) else None


def _lock(path: Path) -> int:
    """Return the lock file, open and locked. Raise OSError if another agent has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        lock_alone(descriptor)
    except OSError as trouble:
        holder = read_pid(descriptor)
        os.close(descriptor)
        raise OSError(errno.EADDRINUSE, f"another agent (process {holder or 'unknown'}) listens there") from trouble
    with contextlib.suppress(OSError):      # a full disk: locked it is all the same
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return the process id (0: not of our namespace) and the user id at the other end, by the kernel's word. Raise
    OSError."""
    pid, uid, _ = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def listen_at(path: Path, mode: int, waiting_at_most: int) -> socket.socket:
    """Given a path whose directory is ours, who may connect and how many may wait to be accepted, return the socket
    that listens there, in the place of what lies there. Raise OSError."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)        # at no moment may another connect than `mode` says
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        path.chmod(mode)
        listener.listen(waiting_at_most)
    except OSError:
        listener.close()
        raise
    return listener


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return which file lies at a path; None: none."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def connect(path: Path, timeout_s: float) -> Channel:
    """Given the socket's path, return a channel to the agent behind it. Raise OSError."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.settimeout(timeout_s)
        channel.connect(str(path))
    except OSError:
        channel.close()
        raise
    return Channel(channel)
