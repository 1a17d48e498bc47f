"""The figures over HTTP: GET /metrics on one address. Knows no figure; it is given a text to show.

One thread, one conversation at a time, each over within its whole time: a client that drips, in either direction, keeps
the next one waiting for so long at most, and costs no more than that.
"""
from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

CONVERSATION_S = 2.0        # asking and answering together; a scrape waits 10 s before it gives up
LONGEST_REQUEST = 8192
END_OF_HEAD = b"\r\n\r\n"


class MetricsPage:
    """Listens on one address, on one thread that sleeps until somebody asks."""

    def __init__(self, host: str, port: int, text: Callable[[], bytes], content_type: str) -> None:
        """`text`: what to show. Raise OSError if nobody can listen there."""
        self._text, self._content_type = text, content_type
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=16)
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)
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
                self._talk(channel, time.monotonic() + CONVERSATION_S)

    def _talk(self, channel: socket.socket, until_s: float) -> None:
        head = _read_head(channel, until_s)
        answer = self._answer(head)
        channel.settimeout(_left_s(until_s))
        channel.sendall(answer)             # its time-out is for the whole of it, however slowly it is taken

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD") or END_OF_HEAD not in head:
            return _page("400 Bad Request", "text/plain", b"this is no GET\n")
        if path != b"/metrics":
            return _page("404 Not Found", "text/plain", b"there is only /metrics\n")
        page = _page("200 OK", self._content_type, self._text())
        return page[:page.index(END_OF_HEAD) + len(END_OF_HEAD)] if method == b"HEAD" else page


def _left_s(until_s: float) -> float:
    """Return the seconds left. Raise TimeoutError if there are none."""
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _read_head(channel: socket.socket, until_s: float) -> bytes:
    """Take in the request's whole head: closing on unread bytes would reset the connection under the answer."""
    head = b""
    while END_OF_HEAD not in head and len(head) < LONGEST_REQUEST:
        channel.settimeout(_left_s(until_s))
        part = channel.recv(LONGEST_REQUEST - len(head))
        if not part:
            break
        head += part
    return head


def _page(status: str, content_type: str, body: bytes) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}",
             "Cache-Control: no-store", "Connection: close", "", "")
    return "\r\n".join(lines).encode() + body
