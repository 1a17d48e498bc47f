"""A TCP address, and whoever asks there: one at a time, on one thread that sleeps meanwhile. Knows nothing it says.

Each conversation is over within its whole time, however the client drips, in either direction: it keeps the next one
waiting for so long at most, and costs no more than that.
"""
from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

LONGEST_REQUEST = 8192


class Conversation:
    """What is said on one connection until the time is up."""

    def __init__(self, channel: socket.socket, limit_s: float) -> None:
        self._channel, self._until_s = channel, time.monotonic() + limit_s

    def hear(self, limit_s: float | None = None) -> bytes:
        """Return what comes next, b"" when the other side has ended. Raise TimeoutError after `limit_s`, or when the
        conversation's time is up, and OSError."""
        left_s = self._left_s()
        self._channel.settimeout(left_s if limit_s is None else min(left_s, limit_s))
        return self._channel.recv(LONGEST_REQUEST)

    def hear_head(self, begun: bytes = b"") -> bytes:
        """Return an HTTP request's whole head: closing on unread bytes would reset the connection under the answer."""
        head = begun
        while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) < LONGEST_REQUEST:
            part = self.hear()
            if not part:
                break
            head += part
        return head

    def say(self, answer: bytes) -> None:
        """Send all of it. Raise TimeoutError when the conversation's time is up, and OSError."""
        self._channel.settimeout(self._left_s())
        self._channel.sendall(answer)       # its time-out is for the whole of it, however slowly it is taken

    def _left_s(self) -> float:
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s


class Listening:
    """Listens on one address and has `talk` lead each conversation, of `limit_s` at most."""

    def __init__(self, host: str, port: int, name: str, limit_s: float, talk: Callable[[Conversation], None]) -> None:
        """`name`: the thread's. Raise OSError if nobody can listen there."""
        self._limit_s, self._talk = limit_s, talk
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=16)
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                channel, _ = self._socket.accept()
            except OSError:
                return                      # closed
            with channel, contextlib.suppress(OSError):
                self._talk(Conversation(channel, self._limit_s))


def http_answer(head: bytes, answers: Callable[[bytes], tuple[str, str, bytes]]) -> bytes:
    """Given a request's head and what to answer for a path (status, content type, body), return the whole answer."""
    method, _, rest = head.partition(b" ")
    if method not in (b"GET", b"HEAD"):
        status, content_type, body = "405 Method Not Allowed", "text/plain", b"only GET and HEAD\n"
    else:
        status, content_type, body = answers(rest.partition(b" ")[0].partition(b"?")[0])
    lines = (f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}",
             "Cache-Control: no-store", "Connection: close", "", "")
    return "\r\n".join(lines).encode() + (b"" if method == b"HEAD" else body)
