"""The door as a Unix socket: whoever may open the file may ask, and that is its owner and root.

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
from collections.abc import Callable
from pathlib import Path

from tideover.system.file_lock import lock_alone, read_pid

READ_AT_ONCE = 65536
LOOK_S = 30.0               # between two looks whether the socket is still ours
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
        pid, uid, _ = _CREDENTIALS.unpack(
            self._channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        return pid, uid

    def close(self) -> None:
        self._channel.close()


class Listener:
    """Where one comes in. Given the socket's path; raise OSError if nobody can be heard there, or another agent is."""

    def __init__(self, path: Path, replaced: Callable[[str], None]) -> None:
        self._path, self._replaced = path, replaced
        self._lock = _lock(path.with_suffix(".lock"))
        try:
            self._socket, self._identity = _listen(path)
        except OSError:
            os.close(self._lock)
            raise

    def accept(self, patience_s: float) -> Channel:
        """Wait for somebody; whoever says nothing for `patience_s` is not waited for. Raise OSError once closed."""
        while True:
            try:
                channel, _ = self._socket.accept()
            except TimeoutError:
                self._look_after_it()
                continue
            channel.settimeout(patience_s)
            return Channel(channel)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if _identity(self._path) == self._identity:
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self._lock)

    def _look_after_it(self) -> None:
        """Put the socket back where another process has removed or replaced it."""
        if _identity(self._path) == self._identity:
            return
        try:
            renewed, identity = _listen(self._path)
        except OSError as trouble:
            if self._identity is not None:          # told once
                self._identity = None
                self._replaced(f"it was removed or replaced, and cannot be put back: {trouble.strerror or trouble}")
            return
        self._socket.close()
        self._socket, self._identity = renewed, identity
        self._replaced("it was removed or replaced by another process, and has been put back")


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


def _listen(path: Path) -> tuple[socket.socket, tuple[int, int] | None]:
    """Given the path, whose lock we hold, return the socket that listens there, and its identity. Raise OSError."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(8)
        listener.settimeout(LOOK_S)
    except OSError:
        listener.close()
        raise
    return listener, _identity(path)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def connect(path: Path, patience_s: float) -> Channel:
    """Given the socket's path, return a channel to the agent behind it. Raise OSError."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.settimeout(patience_s)
        channel.connect(str(path))
    except OSError:
        channel.close()
        raise
    return Channel(channel)
