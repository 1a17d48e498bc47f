"""The agent's own health page: one drain signal for every load balancer, without any hook.

`GET /healthz` answers 200, or 503 with the reason while the applications must not get new work. Who connects and asks
nothing over HTTP, as HAProxy's agent-check does, is told the same in its words (HAProxy configuration manual,
agent-check: "drain", "ready"). It knows no state: it is given a question to ask.
"""
from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

SILENCE_S = 0.2             # HAProxy's agent-check says nothing by itself; whoever speaks HTTP has begun by then
PATIENCE_S = 1.0            # of one conversation: a client that drips does not keep the others out
LONGEST_REQUEST = 4096
READY_LINE, DRAIN_LINE = b"ready up\n", b"drain\n"


class HealthPage:
    """Listens on one address, on one thread that sleeps until somebody asks."""

    def __init__(self, host: str, port: int, draining_because: Callable[[], str | None]) -> None:
        """`draining_because`: why no new work is wanted, None if it is. Raise OSError if nobody can listen there."""
        self._draining_because = draining_because
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=16)
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)
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
                self._answer(channel)

    def _answer(self, channel: socket.socket) -> None:
        channel.settimeout(SILENCE_S)
        try:
            begun = channel.recv(LONGEST_REQUEST)
        except TimeoutError:
            begun = b""
        reason = self._draining_because()
        if begun.startswith((b"GET ", b"HEAD ")):
            channel.settimeout(PATIENCE_S)
            channel.sendall(_page(_read_head(channel, begun), reason))
        else:
            channel.sendall(READY_LINE if reason is None else DRAIN_LINE)


def _read_head(channel: socket.socket, begun: bytes) -> bytes:
    """Take in the request's whole head: closing on unread bytes would reset the connection under the answer."""
    head = begun
    while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) < LONGEST_REQUEST:
        part = channel.recv(LONGEST_REQUEST)
        if not part:
            break
        head += part
    return head


def _page(head: bytes, reason: str | None) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.split(b" ", 1)[0].split(b"?", 1)[0]
    status, text = ("200 OK", "ready\n") if reason is None else ("503 Service Unavailable", f"draining: {reason}\n")
    if path != b"/healthz":
        status, text = "404 Not Found", "there is only /healthz\n"
    body = text.encode("ascii", "replace")
    lines = (f"HTTP/1.1 {status}", "Content-Type: text/plain", f"Content-Length: {len(body)}",
             "Cache-Control: no-store", "Connection: close", "", "")
    return "\r\n".join(lines).encode() + (b"" if method == b"HEAD" else body)
