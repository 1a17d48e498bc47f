"""A bell that wakes a thread out of its wait for sockets. Carries no message."""
from __future__ import annotations

import socket


class Bell:
    """Rung from any thread; one thread waits for it among its sockets."""

    def __init__(self) -> None:
        self.socket, self._button = socket.socketpair()
        self.socket.setblocking(False)
        self._button.setblocking(False)

    def ring(self) -> None:
        """Wake the waiter. A bell that rings already, or is gone, needs no second push."""
        try:
            self._button.send(b"\0")
        except OSError:
            return

    def hush(self) -> None:
        """Take back all rings so far."""
        try:
            while self.socket.recv(64):
                pass
        except OSError:
            return

    def close(self) -> None:
        self.socket.close()
        self._button.close()
