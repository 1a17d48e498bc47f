"""The door as a Unix socket: whoever may open the file may ask, and that is its owner and root."""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import contextlib
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tideover.listening import CONNECTIONS_AT_MOST, Limits, Listening, Told

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

    def __init__(self, path: Path, reply: Callable[[bytes], bytes], patience_s: float, longest_question: int,
                 told: Told) -> None:
        """`reply`: given a line, what is answered; any thread, and it may take long."""
        self._path, self._reply = path, reply
        with contextlib.suppress(FileNotFoundError):
            path.unlink()                   # the state directory's lock says that no other agent is behind it
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(CONNECTIONS_AT_MOST)
        self._listening = Listening(listener, "api", Limits(patience_s, longest_question), self._answers, told)

    def close(self) -> None:
        self._listening.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _answers(self, received: bytes, has_said_all: bool) -> Callable[[], bytes] | None:
        line, end, _ = received.partition(b"\n")
        return partial(self._reply, line) if end or (has_said_all and line) else None


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
