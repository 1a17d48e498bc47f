"""The door as a Unix socket: whoever may open the file may ask, and that is its owner and root."""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import contextlib
import os
import socket
from pathlib import Path

READ_AT_ONCE = 65536


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

    def close(self) -> None:
        self._channel.close()


class Listener:
    """Where one comes in. Given the socket's path; raise OSError if nobody can be heard there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with contextlib.suppress(FileNotFoundError):
            path.unlink()                   # the state directory's lock says that no other agent is behind it
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(before)
        self._socket.listen(8)

    def accept(self, patience_s: float) -> Channel:
        """Wait for somebody; whoever says nothing for `patience_s` is not waited for. Raise OSError once closed."""
        channel, _ = self._socket.accept()
        channel.settimeout(patience_s)
        return Channel(channel)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


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
